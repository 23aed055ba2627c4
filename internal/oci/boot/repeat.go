package boot

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/linux/bare"
)

// addRepeat adds a loop: the process waits for a FrameGo, makes a pipe, sends its
// reading end in a FrameOutput, and forks. The child, of which a FrameBorn tells,
// goes on with the rest of the script, with the pipe as its standard output and
// error. The process itself stays out of the container's PID namespace and cgroup,
// where nobody sees or freezes it, and ends when the parent closes the socket.
//
// The function that is given back completes it when all descriptors are known: the
// pipe gets the two numbers behind them.
func (b *initializer) addRepeat(s script, g Ground) (func() error, error) {
	t := b.thread
	number, err := t.lend(t.PidNS)
	if err != nil {
		return nil, err
	}
	s.call("join PID namespace", unix.SYS_SETNS, bare.Int(number), bare.Int(unix.CLONE_NEWPID))
	var flags, group uint64 = unix.CLONE_PARENT, 0
	handle := -1
	if g.Group >= 0 {
		if handle, err = t.lend(g.Group); err != nil {
			return nil, err
		}
		flags, group = flags|unix.CLONE_INTO_CGROUP, uint64(handle)
	}
	begin, child := s.Len(), s.Slot()
	s.await(b.sock, child)
	s.call("create pipe", unix.SYS_PIPE2, child.Addr(), bare.Int(unix.O_CLOEXEC))
	send := s.call("send pipe", unix.SYS_SENDMSG, bare.Int(b.sock))
	closeRead := s.call("close pipe", unix.SYS_CLOSE)
	args := s.Words(flags, 0, 0, 0, 0, 0, 0, 0, 0, 0, group) // struct clone_args
	s.call("fork", unix.SYS_CLONE3, args, bare.Int(11*8)).Into(child).IfZero(3)
	s.call("report pid", unix.SYS_WRITE, bare.Int(b.sock), s.Bytes([]byte{FrameBorn, 4, 0, 0, 0}), bare.Int(frameHead))
	s.call("report pid", unix.SYS_WRITE, bare.Int(b.sock), child.Addr(), bare.Int(4))
	closeWrite := s.call("close pipe", unix.SYS_CLOSE)
	closeWrite.IfZero(begin - s.Len())
	if handle >= 0 {
		s.call("close cgroup", unix.SYS_CLOSE, bare.Int(handle))
	}
	var dups []*bare.Call
	for _, stream := range []int{1, 2} {
		dups = append(dups, s.call("take over pipe", unix.SYS_DUP3, bare.Int(0), bare.Int(stream), bare.Int(0)))
	}
	s.call("give pipe to user", unix.SYS_FCHOWN, bare.Int(1), bare.Int(b.plan.Process.UID), bare.Int(^uint32(0))).Optional()
	if err := b.addTasks(s, g); err != nil {
		return nil, err
	}
	return func() error {
		first := len(t.Files) + 1 // the script's own file is the last
		send.Set(1, s.passing(first))
		closeRead.Set(0, bare.Int(first))
		closeWrite.Set(0, bare.Int(first+1))
		for _, c := range dups {
			c.Set(0, bare.Int(first+1))
		}
		return nil
	}, nil
}

// passing is a struct msghdr that sends a FrameOutput with a descriptor.
func (s script) passing(h int) bare.Arg {
	head := []byte{FrameOutput, 0, 0, 0, 0}
	vector := s.Words(s.Bytes(head).Value(), uint64(len(head)))
	// struct cmsghdr: length, level, type; the descriptor, padded.
	control := binary.NativeEndian.AppendUint64(nil, uint64(unix.CmsgLen(4)))
	for _, w := range []uint32{unix.SOL_SOCKET, unix.SCM_RIGHTS, uint32(h), 0} {
		control = binary.NativeEndian.AppendUint32(control, w)
	}
	// struct msghdr: name, its length, vector, its length, control, its length, flags.
	return s.Words(0, 0, vector.Value(), 1, s.Bytes(control).Value(), uint64(len(control)), 0)
}
