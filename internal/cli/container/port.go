package container

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/network"
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

// NewPort makes the command "port".
func NewPort(s *session.Session) *cobra.Command {
	return &cobra.Command{
		Use:         "port CONTAINER [PRIVATE_PORT[/PROTO]]",
		Short:       "Show where a container's ports are published",
		Args:        session.RangeArgs(1, 2),
		Annotations: aliases("container port", "port"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := s.Client()
			if err != nil {
				return err
			}
			res, err := c.ContainerInspect(cmd.Context(), args[0], client.ContainerInspectOptions{})
			if err != nil {
				return err
			}
			var ports network.PortMap
			if res.Container.NetworkSettings != nil {
				ports = res.Container.NetworkSettings.Ports
			}
			if len(args) == 1 {
				fmt.Fprint(s.Out, allPorts(ports))
				return nil
			}
			text, err := onePort(ports, args[0], args[1])
			fmt.Fprint(s.Out, text)
			return err
		},
		ValidArgsFunction: completeNames(s, 1),
	}
}

func onePort(ports network.PortMap, name, wanted string) (string, error) {
	number, _, _ := strings.Cut(wanted, "/")
	if _, err := strconv.ParseUint(number, 10, 16); err != nil {
		//lint:ignore ST1005 Docker's text
		return "", fmt.Errorf("Error: invalid port (%s): %w", number, err)
	}
	port, err := network.ParsePort(wanted)
	if err != nil {
		return "", err
	}
	bindings := inOrder(ports[port])
	if len(bindings) == 0 {
		//lint:ignore ST1005 Docker's text
		return "", fmt.Errorf("Error: No public port '%s' published for %s", wanted, name)
	}
	var text strings.Builder
	for _, b := range bindings {
		text.WriteString(hostPort(b) + "\n")
	}
	return text.String(), nil
}

// inOrder sorts by address, IPv4 first, and by port.
func inOrder(bindings []network.PortBinding) []network.PortBinding {
	number := func(b network.PortBinding) int {
		n, _ := strconv.Atoi(b.HostPort) // what is no number comes first
		return n
	}
	return slices.SortedFunc(slices.Values(bindings), func(a, b network.PortBinding) int {
		return cmp.Or(a.HostIP.Compare(b.HostIP), cmp.Compare(number(a), number(b)))
	})
}

func allPorts(ports network.PortMap) string {
	keys := make([]network.Port, 0, len(ports))
	for p := range ports {
		keys = append(keys, p)
	}
	slices.SortFunc(keys, func(a, b network.Port) int {
		if a.Num() != b.Num() {
			return int(a.Num()) - int(b.Num())
		}
		return strings.Compare(string(a.Proto()), string(b.Proto()))
	})
	var b strings.Builder
	for _, p := range keys {
		for _, binding := range inOrder(ports[p]) {
			fmt.Fprintf(&b, "%s -> %s\n", p, hostPort(binding))
		}
	}
	return b.String()
}

func hostPort(b network.PortBinding) string {
	host := ""
	if b.HostIP.IsValid() {
		host = b.HostIP.String()
	}
	return net.JoinHostPort(host, b.HostPort)
}
