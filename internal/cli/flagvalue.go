package cli

import (
	"os"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

// files are flags whose values are names of files: the shell completes them.
const files = " cidfile config env-file input label-file output tlscacert tlscert tlskey volume "

// words are the values that a flag can have, by the flag's name, or by the
// command and the flag. A word that ends with "=" or ":" is only a beginning.
func words() map[string]string {
	const signals = "ABRT ALRM BUS CHLD CONT FPE HUP ILL INT IO KILL PIPE PROF PWR QUIT SEGV STKFLT STOP SYS TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ"
	const capabilities = "ALL CAP_AUDIT_CONTROL CAP_AUDIT_READ CAP_AUDIT_WRITE CAP_BLOCK_SUSPEND CAP_BPF CAP_CHECKPOINT_RESTORE CAP_CHOWN " +
		"CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_IPC_LOCK CAP_IPC_OWNER CAP_KILL CAP_LEASE CAP_LINUX_IMMUTABLE " +
		"CAP_MAC_ADMIN CAP_MAC_OVERRIDE CAP_MKNOD CAP_NET_ADMIN CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_RAW CAP_PERFMON " +
		"CAP_SETFCAP CAP_SETGID CAP_SETPCAP CAP_SETUID CAP_SYSLOG CAP_SYS_ADMIN CAP_SYS_BOOT CAP_SYS_CHROOT CAP_SYS_MODULE CAP_SYS_NICE " +
		"CAP_SYS_PACCT CAP_SYS_PTRACE CAP_SYS_RAWIO CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_WAKE_ALARM"
	return map[string]string{
		"attach": "stderr stdin stdout", "cap-add": capabilities, "cap-drop": capabilities, "cgroupns": "host private",
		"ipc": "container: host none private shareable", "pid": "container: host", "uts": "host", "userns": "host",
		"isolation": "default", "log-level": "debug info warn error fatal", "pull": "always missing never",
		"log-driver": "fluentd gelf journald json-file local none splunk syslog", "volume-driver": "local",
		"platform": "linux/386 linux/amd64 linux/arm/v5 linux/arm/v6 linux/arm/v7 linux/arm64 linux/ppc64le linux/riscv64 linux/s390x",
		"restart":  "always no on-failure unless-stopped", "signal": signals, "stop-signal": signals,
		"security-opt": "apparmor= label= no-new-privileges seccomp= systempaths=unconfined writable-cgroups=",
		"ulimit":       "as= core= cpu= data= fsize= locks= memlock= msgqueue= nice= nofile= nproc= rss= rtprio= rttime= sigpending= stack=",
		"type":         "container image network volume",

		"ls filter":     "ancestor= before= exited= expose= health= id= is-task= label= name= network= publish= since= status= volume=",
		"ps filter":     "ancestor= before= exited= expose= health= id= is-task= label= name= network= publish= since= status= volume=",
		"events filter": "container= daemon= event= image= label= network= scope= type= volume=", "container prune filter": "label= label!= until=",
		"images filter": "before= dangling= label= reference= since= until=", "image ls filter": "before= dangling= label= reference= since= until=",
		"network ls filter": "dangling= driver= id= label= name= scope= type=", "volume ls filter": "dangling= driver= label= name=",
		"image prune filter": "dangling= label= label!= until=", "system prune filter": "label= label!= until=",
	}
}

// completeFlags tells cobra how flags' values are completed. Called for
// completion only: no other command pays for it.
func completeFlags(s *session.Session, root *cobra.Command) {
	table := words()
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		path := strings.TrimPrefix(cmd.CommandPath(), root.Name()+" ")
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Value.Type() == "bool" || strings.Contains(files, " "+f.Name+" ") {
				return
			}
			list := table[path+" "+f.Name]
			if list == "" {
				list = table[cmd.Name()+" "+f.Name]
			}
			if list == "" {
				list = table[f.Name]
			}
			// An error means that the flag has a function already.
			_ = cmd.RegisterFlagCompletionFunc(f.Name, valuesOf(s, f.Name, strings.Fields(list)))
		})
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(root)
}

func valuesOf(s *session.Session, flag string, list []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		directive := cobra.ShellCompDirectiveNoFileComp
		switch flag {
		case "network", "net":
			if typed != "" && strings.HasPrefix("container:", typed[:min(len(typed), len("container:"))]) {
				return append(networkNames(cmd, s), prefixed("container:", containerNames(cmd, s))...), directive
			}
			return networkNames(cmd, s), directive
		case "volumes-from", "link":
			return containerNames(cmd, s), directive
		case "checkpoint":
			return checkpointNames(cmd, s, args), directive
		case "env":
			for _, e := range os.Environ() {
				name, _, _ := strings.Cut(e, "=")
				list = append(list, name)
			}
		case "pid", "ipc":
			if strings.HasPrefix(typed, "container:") {
				return prefixed("container:", containerNames(cmd, s)), directive
			}
		}
		for _, w := range list {
			if strings.HasSuffix(w, "=") || strings.HasSuffix(w, ":") {
				directive |= cobra.ShellCompDirectiveNoSpace
				break
			}
		}
		return list, directive
	}
}

func networkNames(cmd *cobra.Command, s *session.Session) (names []string) {
	c, err := s.Client()
	if err != nil {
		return nil
	}
	list, err := c.NetworkList(cmd.Context(), client.NetworkListOptions{})
	if err != nil {
		return nil // nobody reads an error between two keys
	}
	for _, n := range list.Items {
		names = append(names, n.Name)
	}
	return names
}

func containerNames(cmd *cobra.Command, s *session.Session) (names []string) {
	c, err := s.Client()
	if err != nil {
		return nil
	}
	list, err := c.ContainerList(cmd.Context(), client.ContainerListOptions{All: true})
	if err != nil {
		return nil
	}
	for _, item := range list.Items {
		for _, n := range item.Names {
			if n = strings.TrimPrefix(n, "/"); !strings.Contains(n, "/") {
				names = append(names, n)
			}
		}
	}
	return names
}

// checkpointNames are those of the container of which the line speaks already, or
// of all that do not run.
func checkpointNames(cmd *cobra.Command, s *session.Session, of []string) (names []string) {
	c, err := s.Client()
	if err != nil {
		return nil
	}
	if len(of) == 0 {
		list, err := c.ContainerList(cmd.Context(), client.ContainerListOptions{All: true})
		if err != nil {
			return nil
		}
		for _, item := range list.Items {
			if item.State == container.StateCreated || item.State == container.StateExited {
				of = append(of, item.ID)
			}
		}
	}
	dir, _ := cmd.Flags().GetString("checkpoint-dir") // a command without the flag has no other place
	for _, id := range of {
		list, err := c.CheckpointList(cmd.Context(), id, client.CheckpointListOptions{CheckpointDir: dir})
		if err != nil {
			continue
		}
		for _, item := range list.Items {
			if !slices.Contains(names, item.Name) {
				names = append(names, item.Name)
			}
		}
	}
	return names
}

func prefixed(prefix string, list []string) []string {
	for i, v := range list {
		list[i] = prefix + v
	}
	return list
}
