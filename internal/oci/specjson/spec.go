package specjson

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Decode reads a container's specification, config.json. Errors are
// errs.InvalidArgument.
func Decode(data []byte) (*specs.Spec, error) { return document(data, spec) }

// DecodeProcess reads the description of a process.
func DecodeProcess(data []byte) (*specs.Process, error) { return document(data, process) }

// DecodeResources reads limits.
func DecodeResources(data []byte) (*specs.LinuxResources, error) { return document(data, resources) }

func spec(r *reader, s *specs.Spec) {
	r.object(func(name string) {
		switch name {
		case "ociVersion":
			str(r, &s.Version)
		case "process":
			ptr(r, &s.Process, process)
		case "root":
			ptr(r, &s.Root, root)
		case "hostname":
			str(r, &s.Hostname)
		case "domainname":
			str(r, &s.Domainname)
		case "mounts":
			list(r, &s.Mounts, mount)
		case "hooks":
			ptr(r, &s.Hooks, hooks)
		case "annotations":
			dict(r, &s.Annotations, str[string])
		case "linux":
			ptr(r, &s.Linux, linux)
		default:
			r.skip()
		}
	})
}

func root(r *reader, v *specs.Root) {
	r.object(func(name string) {
		switch name {
		case "path":
			str(r, &v.Path)
		case "readonly":
			boolean(r, &v.Readonly)
		default:
			r.skip()
		}
	})
}

func mount(r *reader, m *specs.Mount) {
	r.object(func(name string) {
		switch name {
		case "destination":
			str(r, &m.Destination)
		case "type":
			str(r, &m.Type)
		case "source":
			str(r, &m.Source)
		case "options":
			list(r, &m.Options, str[string])
		case "uidMappings":
			list(r, &m.UIDMappings, idMapping)
		case "gidMappings":
			list(r, &m.GIDMappings, idMapping)
		default:
			r.skip()
		}
	})
}

func idMapping(r *reader, m *specs.LinuxIDMapping) {
	r.object(func(name string) {
		switch name {
		case "containerID":
			num(r, &m.ContainerID)
		case "hostID":
			num(r, &m.HostID)
		case "size":
			num(r, &m.Size)
		default:
			r.skip()
		}
	})
}

func hooks(r *reader, h *specs.Hooks) {
	r.object(func(name string) {
		switch name {
		case "prestart":
			//lint:ignore SA1019 bundles in the field still use prestart
			list(r, &h.Prestart, hook)
		case "createRuntime":
			list(r, &h.CreateRuntime, hook)
		case "createContainer":
			list(r, &h.CreateContainer, hook)
		case "startContainer":
			list(r, &h.StartContainer, hook)
		case "poststart":
			list(r, &h.Poststart, hook)
		case "poststop":
			list(r, &h.Poststop, hook)
		default:
			r.skip()
		}
	})
}

func hook(r *reader, h *specs.Hook) {
	r.object(func(name string) {
		switch name {
		case "path":
			str(r, &h.Path)
		case "args":
			list(r, &h.Args, str[string])
		case "env":
			list(r, &h.Env, str[string])
		case "timeout":
			ptr(r, &h.Timeout, num[int])
		default:
			r.skip()
		}
	})
}
