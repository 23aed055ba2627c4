package boot

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/bare"
)

// script is a list of system calls that the container's first process makes.
// What fails comes to the parent as a FrameErrno.
type script struct{ *bare.Program }

// What a FrameErrno is about: the first byte of its body. Text follows, then the
// error number in four bytes.
const (
	aboutCall        = 'c' // text says what was tried
	aboutUnsupported = 'u' // likewise; the machine cannot do it
	aboutProgram     = 'p' // text is the program that could not be executed
)

// call adds a system call; what says what it is for, for the message if it fails.
func (s script) call(what string, nr uintptr, args ...bare.Arg) *bare.Call {
	return s.Call(errnoFrame(aboutCall, what), nr, args...)
}

// prctl adds a call of prctl(2) with one argument.
func (s script) prctl(what string, option int, arg int) *bare.Call {
	return s.call(what, unix.SYS_PRCTL, bare.Int(option), bare.Int(arg), bare.Int(0), bare.Int(0), bare.Int(0))
}

// say adds the sending of a frame without a body.
func (s script) say(sock int, kind byte) {
	s.call("report to the runtime", unix.SYS_WRITE, bare.Int(sock), s.Bytes([]byte{kind, 0, 0, 0, 0}), bare.Int(frameHead)).Want(frameHead)
}

// await adds the waiting for a frame without a body.
func (s script) await(sock int, at bare.Slot) {
	s.call("wait for the runtime", unix.SYS_READ, bare.Int(sock), at.Addr(), bare.Int(frameHead)).Want(frameHead)
}

// frameHead is the size of a frame without body, see package fd.
const frameHead = 5

// errnoFrame is a FrameErrno without its last four bytes, which the process adds.
func errnoFrame(about byte, text string) []byte {
	f := []byte{FrameErrno}
	f = binary.LittleEndian.AppendUint32(f, uint32(1+len(text)+4))
	return append(append(f, about), text...)
}

// DecodeErrno reads the body of a FrameErrno.
func DecodeErrno(body []byte) Failure {
	if len(body) < 5 {
		return Failure{Kind: errs.Internal, Message: "the container's init reported an error in " + fmt.Sprint(len(body)) + " bytes"}
	}
	n := len(body) - 4
	about, text, errno := body[0], string(body[1:n]), unix.Errno(binary.NativeEndian.Uint32(body[n:]))
	switch about {
	case aboutProgram:
		return Failure{Kind: execKind(errno), Exec: true, Program: text, Message: errno.Error(), Errno: errno}
	case aboutUnsupported:
		return Failure{Kind: errs.Unsupported, Message: text + ": " + errno.Error(), Errno: errno}
	}
	return Failure{Kind: errs.KindOf(errno), Message: text + ": " + errno.Error(), Errno: errno}
}

// runHere carries the script out in the calling process.
func (s script) runHere() error {
	err := s.Run()
	f, ok := err.(*bare.Failure) //nolint:errorlint // Run returns it as it is
	if !ok {
		return err
	}
	body := binary.NativeEndian.AppendUint32(append([]byte(nil), f.Report[frameHead:]...), uint32(f.Errno))
	return failedCall{DecodeErrno(body)}
}

// failedCall is a failure of a script as an error.
type failedCall struct{ Failure }

func (f failedCall) Error() string { return f.Message }
