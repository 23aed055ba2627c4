package apparmor

import "strings"

// abi3 fixes which of the kernel's features the rules are about. What came later,
// such as the creation of user namespaces, is then not mediated, as with Docker.
const abi3 = "abi/3.0"

// profile is the text of the default profile, for apparmor_parser. What it allows
// and denies is what Docker's does (moby/profiles, apparmor/template.go), in rules
// that need no file of the distribution's, with one difference: of
// /proc/sys/kernel, only shm* and sem can be written, which belong to the IPC
// namespace. own is the profile of the daemon.
func profile(abi, own string) string {
	head := ""
	if abi != "" {
		head = "abi <" + abi + ">,\n"
	}
	return head + strings.NewReplacer("NAME", quoted(Default), "OWN", quoted(own)).Replace(rules)
}

// rules: a deny outweighs every rule that allows. In a pattern, * and ? are for
// one name of a path, ** crosses slashes.
const rules = `profile NAME flags=(attach_disconnected,mediate_deleted) {
  capability,
  file,
  umount,
  unix,

  # Sockets of all kinds but those into the kernel's cryptography
  # (CVE-2026-31431) and to the hypervisor.
  network,
  deny network alg,
  deny network vsock,

  # Mounts would lead around all rules about paths.
  deny mount,

  # Signals come from the machine, from whoever ends containers, and from
  # processes of containers with this profile.
  signal (receive) peer=unconfined,
  signal (receive) peer=OWN,
  signal (receive) peer=runc,
  signal (receive) peer=crun,
  signal (send, receive) peer=NAME,

  # Tracing stays among containers with this profile; the machine may look in.
  ptrace (trace, read, tracedby, readby) peer=NAME,
  ptrace (tracedby, readby) peer=unconfined,
  ptrace (tracedby, readby) peer=OWN,

  # Of /proc, processes and the settings of namespaces can be written.
  deny /proc/* w,
  deny /proc/{[^0-9s]*,s[^y]*,sy[^s]*,sys?*}/** w,
  deny /proc/sys/{[^k],k[^e],ke[^r]}** w,
  deny /proc/sys/kernel/{[^s],s[^he],sh[^m],se[^m]}** w,
  deny /proc/sysrq-trigger rwklx,
  deny /proc/kcore rwklx,

  # Of /sys, cgroups.
  deny /sys/{[^f]*,f[^s]*}/** wklx,
  deny /sys/fs/{[^c]*,c[^g]*,cg[^r]*}/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,
}
`
