package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/gantry-run/gantry/internal/testenv"
)

// The suite's sandbox has one uplink, to a namespace that plays the rest of the
// world: TEST-NET-3 addresses (RFC 5737), a web server, nothing else.
const (
	outsideNS   = "outside"
	insideAddr  = "203.0.113.2"
	outsideAddr = "203.0.113.1"
)

var outsideServer *exec.Cmd

// makeOutside makes the uplink and starts the web server behind it.
func makeOutside() error {
	for _, line := range []string{
		"netns add " + outsideNS,
		"link add wan0 type veth peer name wan1 netns " + outsideNS,
		"addr add " + insideAddr + "/24 dev wan0",
		"link set wan0 up",
		"route add default via " + outsideAddr,
		"-n " + outsideNS + " link set lo up",
		"-n " + outsideNS + " addr add " + outsideAddr + "/24 dev wan1",
		"-n " + outsideNS + " link set wan1 up",
	} {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", line, err, out)
		}
	}
	outsideServer = exec.Command("ip", "netns", "exec", outsideNS, world.probe, "serve", ":80")
	out, err := outsideServer.StdoutPipe()
	if err != nil {
		return err
	}
	if err := outsideServer.Start(); err != nil {
		return err
	}
	_, err = bufio.NewReader(out).ReadString('\n') // it listens
	return err
}

// removeOutside undoes makeOutside; a dead sandbox would take it along anyway,
// but the leak gates run before that.
func removeOutside() error {
	err := outsideServer.Process.Kill()
	_ = outsideServer.Wait() // killed
	out, derr := exec.Command("ip", "netns", "del", outsideNS).CombinedOutput()
	if derr != nil {
		derr = fmt.Errorf("%w: %s", derr, out)
	}
	_ = exec.Command("ip", "link", "del", "wan0").Run() // went with its peer
	// `ip netns` leaves its tmpfs-wide shared bind mount behind.
	_ = exec.Command("umount", "/run/netns").Run()
	return errors.Join(err, derr)
}

func gate(name string, list func() ([]string, error)) testenv.Gate {
	return testenv.Gate{Name: name, List: list}
}
