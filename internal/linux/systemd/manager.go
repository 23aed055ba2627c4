package systemd

import "fmt"

const (
	service = "org.freedesktop.systemd1"
	object  = "/org/freedesktop/systemd1"
	manager = "org.freedesktop.systemd1.Manager"
)

func (c *Conn) manage(member string, args ...Value) (message, error) {
	return c.call(service, object, manager, member, args...)
}

func properties(list []Property) Value {
	all := make([]Value, len(list))
	for i, p := range list {
		all[i] = Struct(String(p.Name), variant(p.Value))
	}
	return Array("(sv)", all...)
}

// StartTransientUnit makes a unit and waits until it has started.
func (c *Conn) StartTransientUnit(unit string, list []Property) error {
	return c.job(c.manage("StartTransientUnit", String(unit), String("replace"), properties(list), Array("(sa(sv))")))
}

// StopUnit ends a unit and waits for its end.
func (c *Conn) StopUnit(unit string) error {
	return c.job(c.manage("StopUnit", String(unit), String("replace")))
}

// SetUnitProperties changes a unit until the machine's end.
func (c *Conn) SetUnitProperties(unit string, list []Property) error {
	_, err := c.manage("SetUnitProperties", String(unit), Bool(true), properties(list))
	return err
}

// ResetFailedUnit lets systemd forget that a unit has failed.
func (c *Conn) ResetFailedUnit(unit string) error {
	_, err := c.manage("ResetFailedUnit", String(unit))
	return err
}

// ManagerProperty is a property of systemd itself that is a text.
func (c *Conn) ManagerProperty(name string) (string, error) {
	m, err := c.call(service, object, "org.freedesktop.DBus.Properties", "Get", String(manager), String(name))
	if err != nil {
		return "", err
	}
	if kind := m.body.signature(); m.bodyOf != "v" || kind != "s" {
		return "", fmt.Errorf("property %s of systemd is no text", name)
	}
	return m.body.text(), m.body.err
}

// job waits for the end of the job that m names.
func (c *Conn) job(m message, err error) error {
	if err != nil {
		return err
	}
	job := m.body.text()
	if m.bodyOf != "o" || m.body.err != nil {
		return errDamaged
	}
	for {
		switch result, ended := c.results[job]; {
		case ended && result != "done":
			return fmt.Errorf("systemd says %q", result)
		case ended:
			return nil
		}
		if _, err := c.next(); err != nil {
			return err
		}
	}
}
