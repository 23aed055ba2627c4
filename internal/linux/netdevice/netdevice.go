// Package netdevice moves network devices from one network namespace to another
// with their addresses. It is a small thing beside package netlink, because it is
// part of the container runtime, which starts in milliseconds.
//
// What a device is for, and who takes it back, does not belong here.
package netdevice

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/gantry-run/gantry/internal/linux/fd"
	"github.com/gantry-run/gantry/internal/linux/ns"
)

// Move takes the device called name out of the calling process's network namespace
// into another one, where it is called as, or gets a free name if that contains %d.
// It keeps its permanent addresses of global scope, and is up there. A device that
// does not exist is errs.NotFound; a name that is taken is errs.Conflict, and then
// nothing has been moved. to is the other namespace.
func Move(name, as string, to int) error {
	if err := move(name, as, to); err != nil {
		return fmt.Errorf("move network device %s: %w", name, err)
	}
	return nil
}

// Find fails as Move would if the device called name does not exist.
func Find(name string) error {
	sock, err := open()
	if err == nil {
		defer fd.Close(sock)
		_, err = find(sock, name)
	}
	if err != nil {
		return fmt.Errorf("move network device %s: %w", name, err)
	}
	return nil
}

func find(sock int, name string) (int, error) {
	index, err := indexOf(sock, name)
	if errors.Is(err, unix.ENODEV) {
		err = errs.Wrap(errs.NotFound, unix.ENODEV)
	}
	return index, err
}

func move(name, as string, to int) error {
	sock, err := open()
	if err != nil {
		return err
	}
	defer fd.Close(sock)
	index, err := find(sock, name)
	if err != nil {
		return err
	}
	addresses, err := addressesOf(index)
	if err != nil {
		return err
	}
	return ns.OnThread(func() error {
		if err := ns.Join(to, unix.CLONE_NEWNET); err != nil {
			return err
		}
		there, err := open()
		if err != nil {
			return err
		}
		defer fd.Close(there)
		if _, err := indexOf(there, as); !errors.Is(err, unix.ENODEV) && !strings.Contains(as, "%d") {
			return errs.New(errs.Conflict, "the container has a device called %s already", as)
		}
		// The kernel may have to give it another index. A name that nobody else uses
		// on its way finds it again.
		between := fmt.Sprintf("move.%d", index)
		if err := send(sock, linkRequest(index, attribute(unix.IFLA_NET_NS_FD, number(to)), attribute(unix.IFLA_IFNAME, text(between)))); err != nil {
			return err
		}
		return settle(there, between, as, addresses)
	})
}

// settle gives a device that has just come its name and addresses, and brings it up.
func settle(sock int, name, as string, addresses []address) error {
	index, err := indexOf(sock, name)
	if err != nil {
		return err
	}
	if err := send(sock, linkRequest(index, attribute(unix.IFLA_IFNAME, text(as)))); err != nil {
		return fmt.Errorf("rename it to %s: %w", as, err)
	}
	for _, a := range addresses {
		if err := send(sock, a.request(index)); err != nil {
			return fmt.Errorf("give it its address back: %w", err)
		}
	}
	up := linkRequest(index)
	binary.NativeEndian.PutUint32(up.body[8:], unix.IFF_UP) // ifi_flags
	binary.NativeEndian.PutUint32(up.body[12:], unix.IFF_UP)
	if err := send(sock, up); err != nil {
		return fmt.Errorf("bring it up: %w", err)
	}
	return nil
}

// open opens a socket that belongs to the calling thread's namespace.
func open() (int, error) {
	sock, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, fmt.Errorf("open route netlink: %w", err)
	}
	return sock, nil
}

// indexOf finds a device by its name; any socket of the namespace serves.
func indexOf(sock int, name string) (int, error) {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(sock, unix.SIOCGIFINDEX, req); err != nil {
		return 0, err
	}
	return int(req.Uint32()), nil
}

// address is one address of a device, as the kernel described it.
type address struct {
	head  unix.IfAddrmsg
	attrs []byte
}

// keptAttributes are those of an address that say what it is. Others say what has
// become of it, or its label, which goes with a name that it may lose.
var keptAttributes = map[uint16]bool{
	unix.IFA_ADDRESS: true, unix.IFA_LOCAL: true, unix.IFA_BROADCAST: true, unix.IFA_ANYCAST: true, unix.IFA_RT_PRIORITY: true,
}

// keptFlags are those flags of an address that somebody has chosen.
const keptFlags = unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_MCAUTOJOIN | unix.IFA_F_NODAD | unix.IFA_F_HOMEADDRESS

// addressesOf lists the permanent addresses of global scope of a device in the
// process's namespace.
func addressesOf(index int) ([]address, error) {
	dump, err := syscall.NetlinkRIB(unix.RTM_GETADDR, unix.AF_UNSPEC)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	messages, err := syscall.ParseNetlinkMessage(dump)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var all []address
	for _, m := range messages {
		if m.Header.Type != unix.RTM_NEWADDR || len(m.Data) < unix.SizeofIfAddrmsg {
			continue
		}
		head := unix.IfAddrmsg{
			Family: m.Data[0], Prefixlen: m.Data[1], Flags: m.Data[2], Scope: m.Data[3], Index: binary.NativeEndian.Uint32(m.Data[4:]),
		}
		if int(head.Index) != index || head.Scope != unix.RT_SCOPE_UNIVERSE || head.Flags&unix.IFA_F_PERMANENT == 0 {
			continue
		}
		attrs, err := syscall.ParseNetlinkRouteAttr(&m)
		if err != nil {
			return nil, fmt.Errorf("list addresses: %w", err)
		}
		a, flags := address{head: head}, uint32(head.Flags)
		for _, attr := range attrs {
			switch {
			case attr.Attr.Type == unix.IFA_FLAGS && len(attr.Value) == 4:
				flags = binary.NativeEndian.Uint32(attr.Value)
			case keptAttributes[attr.Attr.Type]:
				a.attrs = append(a.attrs, attribute(attr.Attr.Type, attr.Value)...)
			}
		}
		a.attrs = append(a.attrs, attribute(unix.IFA_FLAGS, number(int(flags&keptFlags)))...)
		all = append(all, a)
	}
	return all, nil
}

func (a address) request(index int) request {
	body := []byte{a.head.Family, a.head.Prefixlen, 0, a.head.Scope}
	body = append(binary.NativeEndian.AppendUint32(body, uint32(index)), a.attrs...)
	return request{unix.RTM_NEWADDR, unix.NLM_F_CREATE | unix.NLM_F_EXCL, body}
}
