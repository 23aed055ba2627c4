// A GELF server for UDP, by an implementation that is not ours. It prints each
// message as a line of JSON.
//
//   node gelf.js PORT
"use strict";
const server = require("graygelf/server")();
server.on("message", (message) => console.log(JSON.stringify(message)));
server.on("error", (error) => console.log(JSON.stringify({ error: String(error) })));
server.listen(Number(process.argv[2]), "127.0.0.1");
server._udp.on("listening", () => console.log(JSON.stringify({ state: "listening" })));
