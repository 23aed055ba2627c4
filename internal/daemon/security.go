package daemon

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/selinux/go-selinux"
	"github.com/opencontainers/selinux/go-selinux/label"

	"github.com/gantry-run/gantry/internal/apparmor"
	"github.com/gantry-run/gantry/internal/linux/relabel"
)

// openAppArmor brings the default profile of this release into the kernel. If that
// fails, containers that shall have it do not start, and say why.
func (d *Daemon) openAppArmor(ctx context.Context) {
	d.appArmor = apparmor.Probe()
	if d.appArmor == nil {
		return
	}
	if !d.appArmor.HasDefault() {
		const text = "AppArmor is on, but there is no apparmor_parser: containers run without a profile unless one is named"
		d.log.Warn(text, "hint", "install the package apparmor")
		d.warnings = append(d.warnings, "WARNING: "+text)
		return
	}
	if err := d.appArmor.LoadDefault(ctx); err != nil {
		d.log.Error("load default AppArmor profile", "error", err)
	}
}

// openSELinux puts SELinux to use if the configuration says so and it is on.
func (d *Daemon) openSELinux() error {
	if !d.cfg.SELinux {
		selinux.SetDisabled()
		return nil
	}
	if d.selinux = selinux.GetEnabled(); !d.selinux {
		d.log.Warn("SELinux is not on in this machine: --selinux-enabled has no effect")
		return nil
	}
	return d.labelLayers()
}

// roFileType is container-selinux's type of what every container may read. The
// policy has it for the layers in Docker's directories, but does not know ours.
const roFileType = "container_ro_file_t"

// labelLayers lets containers read the layers of images. Their root has a context
// of its own, but for the pages of a program that is in memory, the one of the
// file below the overlay counts.
func (d *Daemon) labelLayers() error {
	_, file, err := label.InitLabels([]string{"disable"})
	if err != nil || file == "" {
		return err // a policy without containers
	}
	con, err := selinux.NewContext(file)
	if err != nil {
		return fmt.Errorf("decode SELinux context of containers: %w", err)
	}
	con["type"], con["level"] = roFileType, "s0"
	dir := filepath.Join(d.cfg.DataRoot, "image")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create image store: %w", err)
	}
	if now, err := selinux.LfileLabel(dir); err == nil && now == con.Get() {
		return nil // done before; what was made since has inherited it
	}
	if err := relabel.Tree(dir, con.Get()); err != nil {
		d.log.Warn("label layers of images: containers may be unable to run programs", "error", err)
	}
	return nil
}
