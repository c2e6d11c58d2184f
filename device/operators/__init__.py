"""What service tasks may call: one file per noun. Importing this package registers all of them."""
