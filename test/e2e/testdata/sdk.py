"""Drives an engine with Debian's python3-docker. argv: the name to use."""
import sys
import time

import docker

name = sys.argv[1]
client = docker.from_env()
assert client.ping()
assert client.version()["ApiVersion"], client.version()

out = client.containers.run("busybox", ["echo", "hello"], remove=True)
assert out == b"hello\n", out
try:
    client.containers.run("busybox", ["sh", "-c", "echo bad >&2; exit 3"], remove=True)
    raise AssertionError("a failing command gave no error")
except docker.errors.ContainerError as e:
    assert e.exit_status == 3 and b"bad" in e.stderr, e

c = client.containers.run(
    "busybox", ["sh", "-c", "trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done"],
    name=name, detach=True, environment={"A": "b"}, labels={"sdk": name}, mem_limit="64m")
try:
    assert [x.id for x in client.containers.list(filters={"label": "sdk=" + name})] == [c.id]
    for line in c.logs(stream=True, follow=True):
        assert line == b"up\n", line
        break
    code, out = c.exec_run(["sh", "-c", "echo $A; echo e >&2; exit 4"], demux=True)
    assert code == 4 and out == (b"b\n", b"e\n"), (code, out)
    sock = c.exec_run(["cat"], stdin=True, socket=True).output
    sock._sock.sendall(b"through\n")
    assert b"through\n" in sock.read(64)
    sock.close()
    assert c.attrs["HostConfig"]["Memory"] == 64 << 20, c.attrs["HostConfig"]
    stats = c.stats(stream=False)
    assert stats["memory_stats"]["limit"] == 64 << 20, stats["memory_stats"]
    c.pause()
    c.reload()
    assert c.status == "paused", c.status
    c.unpause()
    c.rename(name + "-new")
    assert "PID" in c.top()["Titles"]
    c.stop(timeout=10)
    assert c.wait()["StatusCode"] == 7
    c.restart()
    c.reload()
    assert c.status == "running", c.status
finally:
    c.remove(force=True)
try:
    client.containers.get(name + "-new")
    raise AssertionError("removed, and still there")
except docker.errors.NotFound:
    pass
try:
    client.containers.run("127.0.0.1:1/image")
    raise AssertionError("an unknown image gave no error")
except docker.errors.APIError as e:
    assert e.response.status_code in (404, 500), e

image = client.images.get("busybox")
assert image.tag("sdk-" + name, "one")
assert any("sdk-%s:one" % name in i.tags for i in client.images.list())
client.images.remove("sdk-%s:one" % name)
volume = client.volumes.create(name)
assert volume.attrs["Driver"] == "local"
out = client.containers.run("busybox", ["sh", "-c", "echo kept > /v/f; cat /v/f"], volumes={name: {"bind": "/v", "mode": "rw"}}, remove=True)
assert out == b"kept\n", out
volume.remove()
assert client.networks.get("bridge").attrs["Driver"] == "bridge"
kinds = [e["Action"] for e in client.events(
    decode=True, since=0, until=int(time.time()) + 1, filters={"label": "sdk=" + name})]
assert kinds[:2] == ["create", "start"] and "die" in kinds and kinds[-1] == "destroy", kinds
print("ok")
