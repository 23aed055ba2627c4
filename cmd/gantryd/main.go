// Command gantryd is the container engine's daemon.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/gantry-run/gantry/internal/config"
	"github.com/gantry-run/gantry/internal/daemon"
	"github.com/gantry-run/gantry/internal/version"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	cfg, err := config.Parse(args)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		if _, ok := errors.AsType[*config.FlagError](err); ok {
			return 125
		}
		return 1
	}
	switch cfg.Action {
	case config.Help:
		fmt.Print(config.Usage())
		return 0
	case config.Version:
		fmt.Printf("gantryd version %s, build %s\n", version.Version, version.Commit)
		return 0
	case config.Validate:
		fmt.Println("configuration OK")
		return 0
	}
	if err := daemon.Main(cfg, args); err != nil {
		fmt.Fprintln(os.Stderr, "failed to start daemon:", err)
		return 1
	}
	return 0
}
