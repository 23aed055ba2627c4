package boot

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/bare"
	"github.com/gantry-run/gantry/internal/linux/repeat"
)

// addRepeat adds a loop: the process waits for a repeat.Go, which brings a pipe,
// and forks. The child goes on with the rest of the script, with the pipe as its
// standard output and error. The process waits for its end and tells of it, or, if
// that takes longer than timeout, kills what it has started and ends. The process
// itself stays out of the container's PID namespace and cgroup, where nobody sees
// or freezes it, and ends when the socket has been closed.
//
// Between its FrameReady and its end it speaks repeat's language.
//
// The function that is given back completes it when all descriptors are known: the
// pipe gets the number behind them.
func (b *initializer) addRepeat(s script, g Ground, timeout time.Duration) (func() error, error) {
	t := b.thread
	number, err := t.lend(t.PidNS)
	if err != nil {
		return nil, err
	}
	s.call("join PID namespace", unix.SYS_SETNS, bare.Int(number), bare.Int(unix.CLONE_NEWPID))
	group := -1
	if g.Group >= 0 {
		if group, err = t.lend(g.Group); err != nil {
			return nil, err
		}
	}
	m := s.addMailbox()
	s.addQuietChildren()
	s.say(b.sock, FrameReady)
	s.blockChildren(unix.SIG_BLOCK).IfZero(1) // there is nothing to tell yet
	begin, child := s.Len(), s.Slot()
	s.call("tell of the end", unix.SYS_WRITE, bare.Int(b.sock), m.ended, bare.Int(repeat.EndedSize)).Want(repeat.EndedSize)
	s.call("wait for the next time", unix.SYS_RECVMSG, bare.Int(b.sock), m.order, bare.Int(unix.MSG_CMSG_CLOEXEC)).Want(1)
	fork := s.forkInto(group).Into(child)
	parent := s.Len()
	uses := s.addWait(b.sock, child, m, timeout, begin)
	fork.IfZero(s.Len() - parent)
	if group >= 0 {
		s.call("close cgroup", unix.SYS_CLOSE, bare.Int(group))
	}
	uses = append(uses,
		s.call("take over pipe", unix.SYS_DUP3, bare.Int(0), bare.Int(1), bare.Int(0)),
		s.call("take over pipe", unix.SYS_DUP3, bare.Int(0), bare.Int(2), bare.Int(0)))
	s.call("give pipe to user", unix.SYS_FCHOWN, bare.Int(1), bare.Int(b.plan.Process.UID), bare.Int(^uint32(0))).Optional()
	s.blockChildren(unix.SIG_UNBLOCK)
	if err := b.addTasks(s, g); err != nil {
		return nil, err
	}
	return func() error {
		first := bare.Int(len(t.Files) + 1) // the script's own file is the last
		for _, c := range uses {
			c.Set(0, first)
		}
		return nil
	}, nil
}

// forkInto adds a fork into a v2 cgroup, -1: where the process is. It is no vfork:
// memory that is shared with a process in the container's PID namespace is memory
// that one with CAP_SYS_PTRACE can write to.
func (s script) forkInto(group int) *bare.Call {
	// struct clone_args: flags first, the fifth of eleven words the signal, the last the cgroup.
	args := [11]uint64{4: uint64(unix.SIGCHLD)}
	if group >= 0 {
		args[0], args[10] = unix.CLONE_INTO_CGROUP, uint64(group)
	}
	return s.call("fork", unix.SYS_CLONE3, s.Words(args[:]...), bare.Int(8*len(args)))
}

// addWait adds what the process does while its child runs. It gives the calls that
// close the pipe; they have to be told its number.
func (s script) addWait(sock int, child bare.Slot, m mailbox, timeout time.Duration, begin int) []*bare.Call {
	limit := s.Words(uint64(timeout/time.Second), uint64(timeout%time.Second)) // struct timespec
	s.call("wait for the process", unix.SYS_RT_SIGTIMEDWAIT, s.childSignal(), bare.Int(0), limit, bare.Int(sizeofSigset)).Tolerate(unix.EAGAIN, 2)
	s.call("reap the process", unix.SYS_WAIT4, child.Value(), m.status, bare.Int(0), bare.Int(0))
	ended := s.call("close pipe", unix.SYS_CLOSE)
	ended.IfZero(begin - s.Len())
	// It leads a group as soon as it leads a session; before, there is only itself.
	s.call("kill the process", unix.SYS_KILL, child.Negative(), bare.Int(unix.SIGKILL)).Optional()
	s.call("kill the process", unix.SYS_KILL, child.Value(), bare.Int(unix.SIGKILL)).Optional()
	s.call("reap the process", unix.SYS_WAIT4, child.Value(), bare.Int(0), bare.Int(0), bare.Int(0))
	late := s.call("close pipe", unix.SYS_CLOSE)
	s.call("tell of the end", unix.SYS_WRITE, bare.Int(sock), s.Bytes([]byte{repeat.Late}), bare.Int(1))
	s.call("end", unix.SYS_EXIT_GROUP, bare.Int(0))
	return []*bare.Call{ended, late}
}

// sizeofSigset is the size of the kernel's set of signals.
const sizeofSigset = 8

func (s script) childSignal() bare.Arg { return s.Words(1 << (unix.SIGCHLD - 1)) }

// addQuietChildren adds that only the ends of children are signalled, not that one
// stops or goes on.
func (s script) addQuietChildren() {
	const noStops = 1                      // SA_NOCLDSTOP
	byDefault := s.Words(0, noStops, 0, 0) // struct sigaction
	s.call("be told of ends only", unix.SYS_RT_SIGACTION, bare.Int(unix.SIGCHLD), byDefault, bare.Int(0), bare.Int(sizeofSigset))
}

// blockChildren adds the blocking of the signal of a child's end, so that it can be
// waited for, or the opposite.
func (s script) blockChildren(how int) *bare.Call {
	return s.call("block signal", unix.SYS_RT_SIGPROCMASK, bare.Int(how), s.childSignal(), bare.Int(0), bare.Int(sizeofSigset))
}

// mailbox is memory that the kernel writes to: what comes and what goes.
type mailbox struct {
	order  bare.Arg // struct msghdr for a repeat.Go and a descriptor
	ended  bare.Arg // a repeat.Ended
	status bare.Arg // the wait status in it
}

// addMailbox adds a mailbox. Children do not get it, which spares its copying.
func (s script) addMailbox() mailbox {
	// Words: a struct msghdr of seven and the struct iovec of two that it points to,
	// three for a control message with a descriptor, one for a repeat.Go, one for a
	// repeat.Ended.
	const vector, control, order, ended, words = 7, 9, 12, 13, 14
	page, size := s.Page(func(base uint64) []byte {
		at := func(word uint64) uint64 { return base + 8*word }
		var content []byte
		for _, w := range [words]uint64{0, 0, at(vector), 1, at(control), uint64(unix.CmsgSpace(4)), 0, at(order), 1} {
			content = binary.NativeEndian.AppendUint64(content, w)
		}
		content[8*ended] = repeat.Ended
		return content
	})
	s.call("make memory writable", unix.SYS_MPROTECT, page, bare.Int(size), bare.Int(unix.PROT_READ|unix.PROT_WRITE))
	s.call("keep memory from children", unix.SYS_MADVISE, page, bare.Int(size), bare.Int(unix.MADV_DONTFORK))
	told := page.Value() + 8*ended
	return mailbox{order: page, ended: bare.Int(told), status: bare.Int(told + 1)}
}
