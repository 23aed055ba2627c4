package systemd

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/gantry-run/gantry/internal/linux/fd"
)

// Conn is a connection to a systemd, through a bus or directly.
type Conn struct {
	sock    *os.File
	in      *bufio.Reader
	serial  uint32
	direct  bool              // without a bus, and so without names
	results map[string]string // of jobs that ended, by the job's path
	stop    func() bool       // unhooks the context
}

// Error is what a bus or systemd answers instead of a result.
type Error struct {
	Name    string // "org.freedesktop.systemd1.UnitExists"
	Message string
}

// Error is the message, or the name if there is none.
func (e *Error) Error() string {
	if e.Message == "" {
		return e.Name
	}
	return e.Message
}

// Is tells whether err is the Error with that last part of its name.
func Is(err error, name string) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && strings.HasSuffix(e.Name, "."+name)
}

// Where the machine's systemd is reached. The second is for root, and there
// without a bus.
const (
	systemBus     = "unix:path=/run/dbus/system_bus_socket"
	systemManager = "/run/systemd/private"
)

// Dial connects to the machine's systemd. The connection ends with ctx at the
// latest.
func Dial(ctx context.Context) (*Conn, error) {
	address := os.Getenv("DBUS_SYSTEM_BUS_ADDRESS")
	if address == "" {
		address = systemBus
	}
	uid := os.Getuid()
	c, err := dialBus(ctx, address, uid)
	if err != nil && os.Geteuid() == 0 {
		return open(ctx, systemManager, uid, true)
	}
	return c, err
}

// DialUser connects to the systemd of a user, who is uid for it. bus is the
// address of the bus, or empty to reach the systemd in runtimeDir.
func DialUser(ctx context.Context, bus, runtimeDir string, uid int) (*Conn, error) {
	if bus != "" {
		return dialBus(ctx, bus, uid)
	}
	if file := runtimeDir + "/bus"; exists(file) {
		return open(ctx, file, uid, false)
	}
	return open(ctx, runtimeDir+"/systemd/private", uid, true)
}

func exists(file string) bool {
	_, err := os.Lstat(file)
	return err == nil
}

// dialBus tries the addresses in their order.
func dialBus(ctx context.Context, addresses string, uid int) (*Conn, error) {
	var all error
	for address := range strings.SplitSeq(addresses, ";") {
		file, err := socketOf(address)
		if err == nil {
			var c *Conn
			if c, err = open(ctx, file, uid, false); err == nil {
				return c, nil
			}
		}
		all = errors.Join(all, err)
	}
	return nil, all
}

// socketOf reads "unix:path=/a/b,guid=…" or "unix:abstract=…", in which bytes may
// be written as %hh.
func socketOf(address string) (string, error) {
	rest, ok := strings.CutPrefix(address, "unix:")
	for pair := range strings.SplitSeq(rest, ",") {
		key, value, _ := strings.Cut(pair, "=")
		prefix := map[string]string{"path": "", "abstract": "@"}
		if _, known := prefix[key]; !known || !ok || value == "" {
			continue
		}
		plain, err := unescape(value)
		return prefix[key] + plain, err
	}
	return "", fmt.Errorf("bus address %q is not one of a socket here", address)
}

func unescape(s string) (string, error) {
	var out strings.Builder
	for {
		before, after, found := strings.Cut(s, "%")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		if len(after) < 2 {
			return "", fmt.Errorf("bus address: incomplete escape in %q", s)
		}
		c, err := hex.DecodeString(after[:2])
		if err != nil {
			return "", fmt.Errorf("bus address: %w", err)
		}
		out.Write(c)
		s = after[2:]
	}
}

// open connects, says who we are, and makes a bus tell of jobs that end; a
// systemd without one tells of its own accord.
func open(ctx context.Context, file string, uid int, direct bool) (_ *Conn, err error) {
	sock, err := fd.Dial(file)
	if err != nil {
		return nil, err
	}
	c := &Conn{sock: sock, in: bufio.NewReader(sock), direct: direct, results: map[string]string{}}
	c.stop = context.AfterFunc(ctx, func() { _ = sock.SetDeadline(time.Unix(1, 0)) }) // wakes whoever waits
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	if err := c.authenticate(uid); err != nil || direct {
		return c, err
	}
	const bus, path = "org.freedesktop.DBus", "/org/freedesktop/DBus"
	if _, err := c.call(bus, path, bus, "Hello"); err != nil {
		return nil, err
	}
	rule := "type='signal',interface='" + manager + "',member='JobRemoved'"
	_, err = c.call(bus, path, bus, "AddMatch", String(rule))
	return c, err
}

// authenticate tells the user's number, which the other side compares with what
// the kernel says. The word that begins the messages goes along, and the answer is
// waited for: a systemd that gets that word together with a message does not look
// at the message until there is another one.
func (c *Conn) authenticate(uid int) error {
	name := hex.EncodeToString([]byte(strconv.Itoa(uid)))
	if _, err := c.sock.Write([]byte("\x00AUTH EXTERNAL " + name + "\r\nBEGIN\r\n")); err != nil {
		return err
	}
	line, err := c.in.ReadString('\n')
	if err != nil {
		return fmt.Errorf("authenticate: %w", err)
	}
	if !strings.HasPrefix(line, "OK ") {
		return fmt.Errorf("authenticate: rejected with %q", strings.TrimSpace(line))
	}
	return nil
}

// Close ends the connection.
func (c *Conn) Close() {
	c.stop()
	_ = c.sock.Close() // every answer that counts has been read
}

// call calls a method and waits for its answer.
func (c *Conn) call(destination, path, iface, member string, args ...Value) (message, error) {
	c.serial++
	if c.direct {
		destination = ""
	}
	if _, err := c.sock.Write(call(c.serial, destination, path, iface, member, args)); err != nil {
		return message{}, fmt.Errorf("call %s: %w", member, err)
	}
	for {
		m, err := c.next()
		switch {
		case err != nil:
			return m, fmt.Errorf("call %s: %w", member, err)
		case m.replyTo != c.serial:
		case m.kind == kindError:
			e := &Error{Name: m.errorName}
			if strings.HasPrefix(m.bodyOf, "s") {
				e.Message = m.body.text()
			}
			return m, e
		case m.kind == kindReturn:
			return m, nil
		}
	}
}

// next reads a message and notes the result of a job, which may come before the
// answer that names the job.
func (c *Conn) next() (message, error) {
	m, err := receive(c.in)
	if err == nil && m.kind == kindSignal && m.iface == manager && m.member == "JobRemoved" && m.bodyOf == "uoss" {
		m.body.uint32()
		job := m.body.text()
		m.body.text() // the unit
		c.results[job] = m.body.text()
		err = m.body.err
	}
	return m, err
}
