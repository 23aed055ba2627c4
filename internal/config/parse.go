package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gantry-run/gantry/internal/errs"
	"github.com/spf13/pflag"
)

// FlagError says that the command line itself is wrong; gantryd exits with 125
// then, as dockerd does.
type FlagError struct{ Err error }

// Error is Docker's text for it.
func (e *FlagError) Error() string { return e.Err.Error() + "\nSee 'gantryd --help'." }

// Unwrap gives the cause.
func (e *FlagError) Unwrap() error { return e.Err }

// parser is one pass over flags and file.
type parser struct {
	cfg    *Config
	flags  *pflag.FlagSet
	values []value // of the options, by index
	set    map[*option]bool

	showHelp, showVersion, validate bool
}

func newParser(cfg *Config) *parser {
	p := &parser{cfg: cfg, flags: pflag.NewFlagSet("gantryd", pflag.ContinueOnError), set: map[*option]bool{}}
	p.flags.SortFlags = true
	p.flags.Usage = func() {}
	for i := range options {
		o := &options[i]
		v := o.value(cfg)
		p.values = append(p.values, v)
		if o.flag == "" {
			continue
		}
		f := p.flags.VarPF(v, o.flag, o.short, o.usage)
		if v.Type() == "bool" {
			f.NoOptDefVal = "true"
		}
	}
	p.flags.BoolVarP(&p.showHelp, "help", "h", false, "Print usage")
	p.flags.BoolVarP(&p.showVersion, "version", "v", false, "Print version information and quit")
	p.flags.BoolVar(&p.validate, "validate", false, "Validate daemon configuration and exit")
	return p
}

// Usage is the text for --help.
func Usage() string {
	cfg := withDefaults()
	return "Usage:  gantryd [OPTIONS]\n\nThe Gantry daemon: an engine for containers with Docker's API.\n\nOptions:\n" +
		newParser(&cfg).flags.FlagUsagesWrapped(100)
}

// Parse reads the command line (without the program's name) and the
// configuration file that it names. Errors are errs.InvalidArgument or, for
// options that Gantry does not have, errs.Unsupported; a malformed command
// line is a *FlagError.
func Parse(args []string) (Config, error) {
	cfg := withDefaults()
	p := newParser(&cfg)
	if err := p.flags.Parse(args); err != nil {
		return cfg, errs.Wrap(errs.InvalidArgument, &FlagError{err})
	}
	switch {
	case p.showHelp:
		cfg.Action = Help
		return cfg, nil
	case p.showVersion:
		cfg.Action = Version
		return cfg, nil
	case p.flags.NArg() > 0:
		//lint:ignore ST1005 Docker's text
		return cfg, errs.Wrap(errs.InvalidArgument, &FlagError{errors.New(`"gantryd" accepts no argument(s).`)})
	case p.validate:
		cfg.Action = Validate
	}
	if err := p.readFile(); err != nil {
		return cfg, err
	}
	return cfg, p.finish()
}

// readFile merges the configuration file in. The default one may be missing.
func (p *parser) readFile() error {
	file := p.cfg.ConfigFile
	if file == "" {
		return nil
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) && !p.flags.Changed("config-file") {
		return nil
	}
	if err == nil {
		err = p.merge(data)
	}
	if err != nil {
		return errs.New(errs.InvalidArgument, "unable to configure the Docker daemon with file %s: %w", file, err)
	}
	return nil
}

// finish decides what follows from the whole and checks it.
func (p *parser) finish() error {
	c := p.cfg
	if err := p.decideFates(); err != nil {
		return err
	}
	p.finishTLS()
	if v := os.Getenv("DOCKER_MIN_API_VERSION"); v != "" {
		c.MinAPIVersion = v
	}
	if strings.HasPrefix(c.MinAPIVersion, "v") {
		return errs.New(errs.InvalidArgument, `API version must be provided without "v" prefix`)
	}
	if err := c.absolutePaths(); err != nil {
		return err
	}
	if c.PidFile == "" {
		c.PidFile = filepath.Join(c.ExecRoot, "gantryd.pid")
	}
	var err error
	if c.Labels, err = uniqueLabels(c.Labels); err == nil {
		err = c.completeHosts()
	}
	if err == nil {
		err = c.validate()
	}
	if err != nil {
		return errs.Wrap(errs.InvalidArgument, err)
	}
	c.warnFeatures()
	c.warnPlainTCP()
	return nil
}

// decideFates warns about options without effect and refuses the unsupported.
func (p *parser) decideFates() error {
	for i := range options {
		o := &options[i]
		given := p.set[o] || o.flag != "" && p.flags.Changed(o.flag)
		if o.fate == nil || !given {
			continue
		}
		warning, err := o.fate(o, p.values[i])
		if err != nil {
			return err
		}
		if warning != "" {
			p.cfg.warn("%s", warning)
		}
	}
	return nil
}

// finishTLS applies Docker's rules: naming tlsverify at all, be it false, turns
// TLS on; TLS alone verifies clients, too; certificates are in Docker's
// directory unless named.
func (p *parser) finishTLS() {
	c := p.cfg
	verifyGiven := p.given("tlsverify")
	if !verifyGiven && os.Getenv("DOCKER_TLS_VERIFY") != "" {
		c.TLSVerify, verifyGiven = true, true
	}
	if verifyGiven {
		c.TLS = true
	} else if c.TLS {
		c.TLSVerify = true
	}
	if !c.TLS {
		return
	}
	for _, file := range []struct {
		p    *string
		name string
	}{{&c.TLSCACert, "ca.pem"}, {&c.TLSCert, "cert.pem"}, {&c.TLSKey, "key.pem"}} {
		if *file.p == "" {
			*file.p = filepath.Join(certificateDir(), file.name)
		}
	}
}

// certificateDir is where docker and dockerd look for certificates.
func certificateDir() string {
	for _, name := range []string{"DOCKER_CERT_PATH", "DOCKER_CONFIG"} {
		if dir := os.Getenv(name); dir != "" {
			return dir
		}
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "/root" // a service without a home: the daemon runs as root
	}
	return filepath.Join(home, ".docker")
}

// given tells whether a flag was set on the command line or in the file.
func (p *parser) given(flag string) bool {
	if p.flags.Changed(flag) {
		return true
	}
	for o := range p.set {
		if o.flag == flag {
			return true
		}
	}
	return false
}

// absolutePaths makes roots independent of the working directory.
func (c *Config) absolutePaths() error {
	for _, path := range []struct {
		p    *string
		name string
	}{{&c.DataRoot, "data-root"}, {&c.ExecRoot, "exec-root"}} {
		if *path.p == "" {
			return errs.New(errs.InvalidArgument, "option %q must not be empty", path.name)
		}
		abs, err := filepath.Abs(*path.p)
		if err != nil {
			return fmt.Errorf("find %s: %w", path.name, err)
		}
		*path.p = abs
	}
	return nil
}
