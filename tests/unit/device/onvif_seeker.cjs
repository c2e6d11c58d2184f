// The npm package `onvif`, another hand than ours, looks for recorders on loopback: node onvif_seeker.cjs PACKAGE
// ENDPOINT. Prints what the one with that endpoint says, as JSON. The package sends where the system's route leads; here that must be loopback.
const dgram = require('dgram');
const bind = dgram.Socket.prototype.bind;
dgram.Socket.prototype.bind = function onLoopback(port, done) {
  return bind.call(this, port, () => {
    this.setMulticastInterface('127.0.0.1');
    done();
  });
};
const { Discovery } = require(process.argv[2]);
const endpoint = process.argv[3];

Discovery.on('error', () => {}); // others on the network may say what they like
Discovery.on('device', (found) => {
  const match = found.probeMatches.probeMatch;
  if (match.endpointReference.address === endpoint) {
    console.log(JSON.stringify(match));
    process.exit(0);
  }
});
Discovery.probe({ timeout: 20000, resolve: false }, () => {
  console.error('it is not found');
  process.exit(1);
});
