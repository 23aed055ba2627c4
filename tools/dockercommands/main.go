// Command dockercommands writes the command tree of a docker client as its help
// texts tell it: the list that docs/reference/compatibility.md is made from.
//
//	dockercommands "$(scripts/docker-cli)" > internal/cli/testdata/docker-commands.tsv
//
// A line is a command and one of its flags, or a command and a "=" with its other
// names. Commands that stand both at the top and below a noun are listed once.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: dockercommands DOCKER")
		os.Exit(2)
	}
	out := bufio.NewWriter(os.Stdout)
	err := walk(out, os.Args[1], nil)
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "dockercommands:", err)
		os.Exit(1)
	}
}

var (
	section = regexp.MustCompile(`^(.*(?:Commands|Options)):$`)
	command = regexp.MustCompile(`^  ([a-z][a-z-]*)\*? +\S`)
	flag    = regexp.MustCompile(`^ {2,6}(-\w, )?(--[a-z0-9-]+)`)
)

// walk writes a command and those below it.
func walk(w io.Writer, docker string, path []string) error {
	text, err := help(docker, path)
	if err != nil {
		return err
	}
	lines := strings.Split(text, "\n")
	name, aliases := strings.Join(path, " "), otherNames(lines)
	if len(aliases) > 0 && aliases[0] != name {
		return nil // listed below its noun
	}
	if name == "" {
		name = "docker"
	}
	fmt.Fprintf(w, "%s\t=\t%s\n", name, strings.Join(aliases, ", "))
	var below []string
	in := ""
	for _, line := range lines {
		if m := section.FindStringSubmatch(line); m != nil {
			in = m[1]
		} else if m := command.FindStringSubmatch(line); m != nil && strings.HasSuffix(in, "Commands") {
			below = append(below, m[1])
		} else if m := flag.FindStringSubmatch(line); m != nil && strings.HasSuffix(in, "Options") {
			fmt.Fprintf(w, "%s\t%s\t%s\n", name, m[2], strings.TrimSuffix(m[1], ", "))
		}
	}
	for _, sub := range below {
		if err := walk(w, docker, append(path[:len(path):len(path)], sub)); err != nil {
			return err
		}
	}
	return nil
}

// help gives a command's help text as it is without a daemon and a configuration.
func help(docker string, path []string) (string, error) {
	cmd := exec.Command(docker, append(path[:len(path):len(path)], "--help")...)
	cmd.Env = []string{"HOME=/nonexistent", "DOCKER_HOST=unix:///nonexistent"}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%v: %w", cmd.Args, err)
	}
	return string(out), nil
}

// otherNames gives all names of a command, the one below its noun first.
func otherNames(lines []string) []string {
	for i, line := range lines {
		if line == "Aliases:" && i+1 < len(lines) {
			names := strings.Split(strings.TrimSpace(lines[i+1]), ", ")
			for j, n := range names {
				names[j] = strings.TrimPrefix(n, "docker ")
			}
			return names
		}
	}
	return nil
}
