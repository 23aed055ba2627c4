package seccomp

import specs "github.com/opencontainers/runtime-spec/specs-go"

// muxed says that a call can also be made through socketcall(2) or ipc(2),
// where these exist: with its number there as the first argument.
type muxed struct {
	via  string
	call uint64
	mask uint64 // bits of the first argument that the kernel looks at
}

// lookupMux finds a call's number in include/uapi/linux/net.h (SYS_*) or
// include/uapi/linux/ipc.h (SEMOP and following). ipc's upper half is a version.
func lookupMux(name string) (muxed, bool) {
	socket := func(n uint64) (muxed, bool) { return muxed{"socketcall", n, 0xffffffff}, true }
	ipc := func(n uint64) (muxed, bool) { return muxed{"ipc", n, 0xffff}, true }
	switch name {
	case "socket":
		return socket(1)
	case "bind":
		return socket(2)
	case "connect":
		return socket(3)
	case "listen":
		return socket(4)
	case "accept":
		return socket(5)
	case "getsockname":
		return socket(6)
	case "getpeername":
		return socket(7)
	case "socketpair":
		return socket(8)
	case "send":
		return socket(9)
	case "recv":
		return socket(10)
	case "sendto":
		return socket(11)
	case "recvfrom":
		return socket(12)
	case "shutdown":
		return socket(13)
	case "setsockopt":
		return socket(14)
	case "getsockopt":
		return socket(15)
	case "sendmsg":
		return socket(16)
	case "recvmsg":
		return socket(17)
	case "accept4":
		return socket(18)
	case "recvmmsg":
		return socket(19)
	case "sendmmsg":
		return socket(20)
	case "semop":
		return ipc(1)
	case "semget":
		return ipc(2)
	case "semctl":
		return ipc(3)
	case "semtimedop":
		return ipc(4)
	case "msgsnd":
		return ipc(11)
	case "msgrcv":
		return ipc(12)
	case "msgget":
		return ipc(13)
	case "msgctl":
		return ipc(14)
	case "shmat":
		return ipc(21)
	case "shmdt":
		return ipc(22)
	case "shmget":
		return ipc(23)
	case "shmctl":
		return ipc(24)
	}
	return muxed{}, false
}

// rule gives the rule for the multiplexing call. Conditions on the arguments
// cannot be carried over, since these are in memory there: a rule that
// restricts then restricts the call altogether, one that permits is dropped,
// as it would permit what its conditions exclude.
func (m muxed) rule(r rule) (rule, bool) {
	if len(r.conds) > 0 && runs(r.action) {
		return rule{}, false
	}
	c := condition{arg: 0, op: specs.OpMaskedEqual, value: m.call, mask: m.mask}
	return rule{action: r.action, conds: []condition{c}}, true
}
