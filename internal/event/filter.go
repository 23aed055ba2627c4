package event

import (
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/events"

	"github.com/gantry-run/gantry/internal/engine"
)

// filter decides which events a subscriber gets. Values of one key are
// alternatives, keys must all match; keys that Docker does not know are ignored,
// as there.
type filter engine.Filters

// nouns are the keys that select by the actor's name or the start of its ID or
// name. Docker compares them with every event's actor, whatever its type.
var nouns = [...]string{
	string(events.DaemonEventType), string(events.ContainerEventType), string(events.PluginEventType),
	string(events.VolumeEventType), string(events.NetworkEventType), string(events.NodeEventType),
	string(events.ServiceEventType), string(events.SecretEventType), string(events.ConfigEventType),
}

func (f filter) match(m events.Message) bool {
	if len(f) == 0 {
		return true
	}
	if !f.action(string(m.Action)) || !f.exact("type", string(m.Type)) || !f.exact("scope", m.Scope) {
		return false
	}
	for _, key := range nouns {
		if !f.prefix(key, m.Actor.ID) && !f.prefix(key, m.Actor.Attributes["name"]) {
			return false
		}
	}
	return f.image(m) && f.labels(m.Actor.Attributes)
}

// exact tells whether one of the key's values is s; a key without values
// accepts everything.
func (f filter) exact(key, s string) bool {
	return len(f[key]) == 0 || slices.Contains(f[key], s)
}

// prefix tells whether s starts with one of the key's values.
func (f filter) prefix(key, s string) bool {
	return len(f[key]) == 0 || slices.ContainsFunc(f[key], func(v string) bool { return strings.HasPrefix(s, v) })
}

// action also takes the first word of actions that go on with a colon and the
// exec's command or the health check's output.
func (f filter) action(a string) bool {
	for _, v := range f["event"] {
		switch events.Action(v) {
		case events.ActionHealthStatus, events.ActionExecCreate, events.ActionExecStart:
			return f.prefix("event", a)
		}
	}
	return f.exact("event", a)
}

// image matches an image event's ID or name, or the image of a container event,
// with or without tag.
func (f filter) image(m events.Message) bool {
	if len(f["image"]) == 0 {
		return true
	}
	key := "image"
	if m.Type == events.ImageEventType {
		key = "name"
	}
	id, name := m.Actor.ID, m.Actor.Attributes[key]
	return f.exact("image", id) || f.exact("image", name) ||
		f.exact("image", withoutTag(id)) || f.exact("image", withoutTag(name))
}

func withoutTag(image string) string {
	ref, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return image // an ID, or nothing
	}
	return reference.FamiliarName(ref)
}

// labels wants every `key` or `key=value`, not one of them.
func (f filter) labels(attributes map[string]string) bool {
	for _, want := range f["label"] {
		key, value, valued := strings.Cut(want, "=")
		got, ok := attributes[key]
		if !ok || valued && got != value {
			return false
		}
	}
	return true
}
