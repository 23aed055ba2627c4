package fd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MaxFrame bounds the body of a frame: what a container's init says is not
// trusted to be small.
const MaxFrame = 16 << 20

const headSize = 5 // one byte kind, four bytes length

// Frame is one message on a stream socket between the runtime and a
// container's init.
type Frame struct {
	Kind byte
	Body []byte
	FDs  []int // at most MaxFDs; received ones are close-on-exec and the reader's to close
}

// MaxFDs is the number of descriptors that fit a frame.
const MaxFDs = 64

// WriteFrame sends one frame on the blocking socket sock. A peer that is gone
// gives EPIPE, never a signal.
func WriteFrame(sock int, f Frame) error {
	buf := make([]byte, headSize, headSize+len(f.Body))
	buf[0] = f.Kind
	binary.LittleEndian.PutUint32(buf[1:], uint32(len(f.Body)))
	buf = append(buf, f.Body...)
	var oob []byte
	if len(f.FDs) > 0 {
		oob = unix.UnixRights(f.FDs...)
	}
	for len(buf) > 0 {
		n, err := unix.SendmsgN(sock, buf, oob, nil, unix.MSG_NOSIGNAL)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("send frame: %w", err)
		}
		buf, oob = buf[n:], nil
	}
	return nil
}

// ReadFrame receives one frame from the blocking socket sock. It returns io.EOF
// when the peer closed the socket between frames.
func ReadFrame(sock int) (f Frame, err error) {
	head := make([]byte, headSize)
	oob := make([]byte, unix.CmsgSpace(MaxFDs*4))
	n, fds, err := recv(sock, head, oob)
	f.FDs = fds
	defer func() {
		if err != nil {
			for _, fd := range f.FDs {
				Close(fd)
			}
			f.FDs = nil
		}
	}()
	if err != nil {
		return f, err
	}
	if n == 0 {
		return f, io.EOF
	}
	if err = readFull(sock, head[n:]); err != nil {
		return f, err
	}
	size := binary.LittleEndian.Uint32(head[1:])
	if size > MaxFrame {
		return f, fmt.Errorf("frame of %d bytes exceeds the limit of %d", size, MaxFrame)
	}
	f.Kind, f.Body = head[0], make([]byte, size)
	return f, readFull(sock, f.Body)
}

// Exchange sends a frame without body and, if wait is set, waits for any frame
// without body in return. It neither allocates nor lets the Go scheduler start
// a thread meanwhile, for use where the kernel would refuse one.
func Exchange(sock int, kind byte, wait bool) error {
	var head [headSize]byte
	head[0] = kind
	if n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(sock), uintptr(unsafe.Pointer(&head)), headSize); errno != 0 {
		return errno
	} else if n != headSize {
		return io.ErrShortWrite
	}
	for got := uintptr(0); wait && got < headSize; {
		n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(sock), uintptr(unsafe.Pointer(&head[got])), headSize-got)
		switch {
		case errno == unix.EINTR:
		case errno != 0:
			return errno
		case n == 0:
			return io.ErrUnexpectedEOF
		default:
			got += n
		}
	}
	return nil
}

func recv(sock int, p, oob []byte) (int, []int, error) {
	for {
		n, oobn, _, _, err := unix.Recvmsg(sock, p, oob, unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.ECONNRESET) {
			return 0, nil, io.EOF
		}
		if err != nil {
			return 0, nil, fmt.Errorf("receive frame: %w", err)
		}
		fds, err := rights(oob[:oobn])
		return n, fds, err
	}
}

func rights(oob []byte) ([]int, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("parse control message: %w", err)
	}
	var all []int
	for i := range msgs {
		fds, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			return all, fmt.Errorf("parse descriptors: %w", err)
		}
		all = append(all, fds...)
	}
	return all, nil
}

func readFull(sock int, p []byte) error {
	for len(p) > 0 {
		n, err := unix.Read(sock, p)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("receive frame: %w", err)
		}
		if n == 0 {
			return io.ErrUnexpectedEOF
		}
		p = p[n:]
	}
	return nil
}
