// Package registry holds the commands "login" and "logout". Where
// credentials are kept belongs to package credential.
package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	apiregistry "github.com/moby/moby/api/types/registry"
	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/credential"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

type loginOptions struct {
	username, password string
	fromStdin          bool
}

// NewLogin makes the command "login".
func NewLogin(s *session.Session) *cobra.Command {
	var o loginOptions
	cmd := &cobra.Command{
		Use:   "login [OPTIONS] [SERVER]",
		Short: "Log in to a registry",
		Args:  session.MaxArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(s, cmd.Flags().Changed("password")); err != nil {
				return err
			}
			server := credential.HubServer
			if len(args) > 0 && args[0] != "" {
				server = credential.ServerOf(credential.HostOf(args[0]))
			}
			return o.run(cmd.Context(), s, server)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	fs := cmd.Flags()
	fs.StringVarP(&o.username, "username", "u", "", "User name")
	fs.StringVarP(&o.password, "password", "p", "", "Password or access token")
	fs.BoolVar(&o.fromStdin, "password-stdin", false, "Read the password from STDIN")
	return cmd
}

func (o *loginOptions) check(s *session.Session, passwordGiven bool) error {
	if passwordGiven {
		fmt.Fprintln(s.Err, "WARNING! Using --password via the CLI is insecure. Use --password-stdin.")
		if o.fromStdin {
			return errors.New("--password and --password-stdin are mutually exclusive")
		}
		if o.password == "" {
			return errors.New("password is empty")
		}
	}
	if !o.fromStdin {
		return nil
	}
	if o.username == "" {
		return errors.New("the --password-stdin option requires --username to be set")
	}
	content, err := io.ReadAll(s.In)
	if err != nil {
		return err
	}
	o.password = strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	return nil
}

func (o *loginOptions) run(ctx context.Context, s *session.Session, server string) error {
	c, err := s.Client()
	if err != nil {
		return err
	}
	known := apiregistry.AuthConfig{ServerAddress: server}
	if o.username == "" && o.password == "" {
		if known, err = credential.Get(s.Config(), server); err != nil {
			return err
		}
		known.ServerAddress = server
		if known.Username != "" && known.Password != "" || known.IdentityToken != "" {
			if done, err := o.tryKnown(ctx, s, c, known); done || err != nil {
				return err
			}
		}
	}
	a, err := o.ask(s, server, known.Username)
	if err != nil {
		return err
	}
	return finish(ctx, s, c, a)
}

// tryKnown logs in with stored credentials. It is not done if they are refused.
func (o *loginOptions) tryKnown(ctx context.Context, s *session.Session, c *client.Client, a apiregistry.AuthConfig) (bool, error) {
	fmt.Fprintln(s.Err, "Authenticating with existing credentials...")
	err := finish(ctx, s, c, a)
	if err == nil || session.Connect(err) != nil {
		return true, err
	}
	fmt.Fprintf(s.Err, "Login did not succeed, error: %v\n", err)
	return false, nil
}

func finish(ctx context.Context, s *session.Session, c *client.Client, a apiregistry.AuthConfig) error {
	answer, err := c.RegistryLogin(ctx, a)
	if err != nil {
		return err
	}
	if answer.IdentityToken != "" {
		a.Password, a.IdentityToken = "", answer.IdentityToken
	}
	plain, err := credential.Store(s.Config(), a)
	if err != nil {
		return fmt.Errorf("error saving credentials: %w", err)
	}
	if plain != "" {
		fmt.Fprintf(s.Err, "\nWARNING! Your credentials are stored unencrypted in '%s'.\n"+
			"Configure a credential helper to remove this warning. See\n"+
			"https://docs.docker.com/go/credential-store/\n\n", plain)
	}
	if answer.Status != "" {
		fmt.Fprintln(s.Out, answer.Status)
	}
	return nil
}

// ask gets what is missing from the user.
func (o *loginOptions) ask(s *session.Session, server, knownUser string) (apiregistry.AuthConfig, error) {
	a := apiregistry.AuthConfig{ServerAddress: server, Username: strings.TrimSpace(o.username), Password: o.password}
	if a.Username != "" && a.Password != "" {
		return a, nil
	}
	if !s.InIsTerminal() {
		//lint:ignore ST1005 Docker's text
		return a, errors.New("Error: Cannot perform an interactive login from a non TTY device")
	}
	if a.Username == "" {
		prompt := "Username: "
		if knownUser != "" {
			prompt = fmt.Sprintf("Username (%s): ", knownUser)
		}
		fmt.Fprint(s.Out, prompt)
		line, err := readLine(s)
		if err != nil {
			return a, err
		}
		if a.Username = line; a.Username == "" {
			a.Username = knownUser
		}
		if a.Username == "" {
			//lint:ignore ST1005 Docker's text
			return a, errors.New("Error: Non-null Username Required")
		}
	}
	if a.Password == "" {
		if err := s.HideInput(); err != nil {
			return a, err
		}
		defer s.Restore()
		fmt.Fprint(s.Out, "Password: ")
		line, err := readLine(s)
		fmt.Fprintln(s.Out)
		if err != nil {
			return a, err
		}
		if a.Password = line; a.Password == "" {
			//lint:ignore ST1005 Docker's text
			return a, errors.New("Error: Password Required")
		}
	}
	return a, nil
}

// readLine takes the end of the input as the end of the line.
func readLine(s *session.Session) (string, error) {
	line, err := s.ReadLine()
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return line, err
}
