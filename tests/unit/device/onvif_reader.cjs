// The npm package `onvif`, another hand than ours, reads a recorder: node onvif_reader.cjs PACKAGE PORT USER PASSWORD.
// Prints one JSON document.
const [, , folder, port, username, password] = process.argv;
const { Cam } = require(folder);

const ask = (run) => new Promise((resolve, reject) => run((error, answer) => (error ? reject(error) : resolve(answer))));

async function main() {
  const cam = await new Promise((resolve, reject) => {
    const made = new Cam({ hostname: '127.0.0.1', port: Number(port), username, password, autoconnect: false, timeout: 10000 });
    made.getSystemDateAndTime((error) => (error ? reject(error) : resolve(made)));
  });
  const services = await ask((done) => cam.getServices(false, done));
  const device = await ask((done) => cam.getDeviceInformation(done));
  const time = await ask((done) => cam.getSystemDateAndTime(done));
  const recordings = [].concat(await ask((done) => cam.getRecordings(done)));
  const replays = {};
  for (const each of recordings) {
    replays[each.recordingToken] = await ask((done) => cam.getReplayUri({ recordingToken: each.recordingToken }, done));
  }
  console.log(JSON.stringify({ services, device, time, recordings, replays }));
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
