package daemon

import (
	"context"

	"github.com/gantry-run/gantry/internal/apparmor"
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
