// Where the film stands is the picture that will be saved.
for (const form of document.querySelectorAll("[data-still]")) {
  const film = form.closest(".screen").querySelector("video");
  film.addEventListener("timeupdate", () => {
    form.elements.at.value = film.currentTime.toFixed(3);
  });
}
