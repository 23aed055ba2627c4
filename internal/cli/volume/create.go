package volume

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gantry-run/gantry/internal/cli/opt"
	"github.com/gantry-run/gantry/internal/cli/session"
	"github.com/gantry-run/gantry/internal/client"
)

func newCreate(s *session.Session) *cobra.Command {
	var name, driver string
	var opts opt.Map
	var labels opt.List
	labels.Check = opt.LabelCheck
	cmd := &cobra.Command{
		Use:   "create [OPTIONS] [VOLUME]",
		Short: "Create a volume",
		Args:  session.MaxArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if name != "" {
					return errors.New("conflicting options: cannot specify a volume-name through both --name and as a positional arg")
				}
				name = args[0]
			}
			c, err := s.Client()
			if err != nil {
				return err
			}
			res, err := c.VolumeCreate(cmd.Context(), client.VolumeCreateOptions{
				Name: name, Driver: driver, DriverOpts: opts.Values, Labels: opt.ToMap(labels.Values),
			})
			if err != nil {
				return err
			}
			fmt.Fprintln(s.Out, res.Volume.Name)
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	fs := cmd.Flags()
	fs.StringVarP(&driver, "driver", "d", "local", "Driver of the volume")
	fs.StringVar(&name, "name", "", "Name of the volume")
	fs.Lookup("name").Hidden = true
	fs.VarP(&opts, "opt", "o", "Option of the driver")
	fs.Var(&labels, "label", "Set a label on the volume")
	return cmd
}
