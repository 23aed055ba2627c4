// A server of the forward protocol, by an implementation that is not ours. It
// prints each event as a line of JSON.
//
//   node fluentd.js PORT|SOCKET
"use strict";
// It acknowledges an event before it hands it out: it must not end in between.
process.on("SIGTERM", () => process.exit());
const { FluentServer } = require("@fluent-org/logger");
const at = process.argv[2];
const listenOptions = /^\d+$/.test(at) ? { port: Number(at), host: "127.0.0.1" } : { path: at };
const server = new FluentServer({ listenOptions });
server.on("entry", (tag, time, record) => {
  const precise = typeof time !== "number";
  const seconds = precise ? time.epoch : time;
  console.log(JSON.stringify({ tag, seconds, nanos: precise ? time.nano : 0, precise, record }));
});
server.listen().then(() => console.log(JSON.stringify({ state: "listening" })));
