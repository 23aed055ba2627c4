package netdevice

import (
	"encoding/binary"
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// request is one message to the kernel that wants an acknowledgement.
type request struct {
	kind, flags uint16
	body        []byte
}

// linkRequest changes the device with an index.
func linkRequest(index int, attrs ...[]byte) request {
	body := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(body[4:], uint32(index)) // ifi_index
	for _, a := range attrs {
		body = append(body, a...)
	}
	return request{kind: unix.RTM_NEWLINK, body: body}
}

// attribute is a struct rtattr with its value, padded to four bytes.
func attribute(kind uint16, value []byte) []byte {
	out := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofRtAttr+len(value)))
	out = append(binary.NativeEndian.AppendUint16(out, kind), value...)
	for len(out)%unix.RTA_ALIGNTO != 0 {
		out = append(out, 0)
	}
	return out
}

func number(n int) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(n)) }

func text(s string) []byte { return append([]byte(s), 0) }

// send sends a request and waits for the kernel's answer to it.
func send(sock int, r request) error {
	out := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(r.body)))
	out = binary.NativeEndian.AppendUint16(out, r.kind)
	out = binary.NativeEndian.AppendUint16(out, r.flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	out = append(append(out, make([]byte, 8)...), r.body...) // neither sequence number nor port
	if err := unix.Sendto(sock, out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buf := make([]byte, 8<<10)
	for {
		n, _, err := unix.Recvfrom(sock, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		messages, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return err
		}
		for _, m := range messages {
			if m.Header.Type != unix.NLMSG_ERROR || len(m.Data) < 4 {
				continue
			}
			if errno := unix.Errno(-int32(binary.NativeEndian.Uint32(m.Data))); errno != 0 {
				return errno
			}
			return nil
		}
	}
}
