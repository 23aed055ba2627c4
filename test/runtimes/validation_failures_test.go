package runtimes

// race begins the reason of what fails now and then only.
const race = "race: "

// Reasons of several failures.
const (
	lateProc      = "missing here: procfs and cgroup views are mounted last and so listed last, though nothing lies on or below them (ADR 5)"
	deleteCreated = "what was created and never started can be deleted, as with runc: engines clean up in this way"
	noHugetlb     = "the machine has no hugetlb hierarchy; fails with runc too"
	noNetwork     = "the machine has no net_cls and net_prio hierarchies; fails with runc too"
	noLeaf        = "the check sets leaf weights, which went away with the CFQ scheduler in Linux 5.0; fails with runc too"
	noKernel      = "the check wants limits of kernel memory, which Linux 5.16 took out; fails with runc too"
	early         = "the check demands what the specification took back: prestart hooks run while the container is created; fails with runc too"
	noResource    = "the machine has no CAP_SYS_RESOURCE to give; runc does not even create the container"
)

// knownFailures are the checks of each program that fail, and why: something is
// missing here, the machine lacks something, or the check itself is wrong. What
// is said to fail with runc too was tried: RUNTIMES_VALIDATED=runc.
var knownFailures = map[string]map[string]string{
	"default": {inOrder: lateProc},
	"delete": {
		"attempting to `delete` a container that is not `stopped` MUST generate an error":               deleteCreated,
		"attempting to `delete` a container that is not `stopped` MUST have no effect on the container": deleteCreated,
	},
	"hooks": {wholeProgram: "the check compares the hooks' output with a text that its hooks do not print; fails with runc too"},
	"hooks_stdin": {
		"the state of the container MUST be passed to \"prestart\" hook over stdin": "the check wants the status created, the specification creating; fails with runc too",
	},
	"hostname": {
		"check hostname \"\"":                  lateProc,
		"check hostname \"hostname-specific\"": lateProc,
	},
	"linux_cgroups_blkio":            {wholeProgram: noLeaf},
	"linux_cgroups_hugetlb":          {wholeProgram: noHugetlb},
	"linux_cgroups_memory":           {"memory kernel is set correctly": noKernel, "memory kernelTCP is set correctly": noKernel},
	"linux_cgroups_network":          {wholeProgram: noNetwork},
	"linux_cgroups_relative_blkio":   {"exit status 1": noLeaf},
	"linux_cgroups_relative_hugetlb": {"exit status 1": noHugetlb},
	"linux_cgroups_relative_memory":  {"memory kernel is set correctly": noKernel, "memory kernelTCP is set correctly": noKernel},
	"linux_cgroups_relative_network": {"exit status 1": noNetwork},
	"linux_devices":                  {inOrder: lateProc},
	"linux_masked_paths":             {"check masked paths": lateProc, "check masked device nodes": lateProc},
	"linux_mount_label":              {wholeProgram: "the machine has no SELinux; fails with runc too"},
	"linux_process_apparmor_profile": {wholeProgram: "the machine has no AppArmor; fails with runc too"},
	"linux_readonly_paths":           {"check read-only paths": lateProc, "check read-only device nodes": lateProc},
	"linux_rootfs_propagation": {
		"check root propagation: shared": lateProc, "check root propagation: slave": lateProc,
		"check root propagation: private": lateProc, "check root propagation: unbindable": lateProc,
	},
	"linux_sysctl": {inOrder: lateProc},
	"misc_props": {
		"implementations that are reading/processing this configuration file MUST NOT generate an error if they encounter an unknown annotation key": "the check's root lacks the program that it wants to run; fails with runc too",
	},
	"mounts": {inOrder: lateProc},
	"pidfile": {
		"create with '--pid-file' option works": race + "the check kills a container whose program, true, has ended by then; fails with runc too",
	},
	"poststart": {
		wholeProgram: race + "the check wants what the program writes before what the hook writes; the hook runs when the program has been executed, not when it has run",
	},
	"poststart_fail": {
		wholeProgram: "the check demands what the specification took back: since 1.2 a failing poststart hook ends the container; so it does with runc",
	},
	"prestart": {wholeProgram: early},
	"process":  {inOrder: lateProc},
	"process_capabilities": {
		inOrder: lateProc,
		"expected ambient capability CAP_SYS_RESOURCE set":     noResource,
		"expected bounding capability CAP_SYS_RESOURCE set":    noResource,
		"expected effective capability CAP_SYS_RESOURCE set":   noResource,
		"expected inheritable capability CAP_SYS_RESOURCE set": noResource,
		"expected permitted capability CAP_SYS_RESOURCE set":   noResource,
	},
	"process_capabilities_fail": {inOrder: lateProc},
	"process_oom_score_adj":     {inOrder: lateProc},
	"process_rlimits": {
		inOrder:                           lateProc,
		"has expected soft RLIMIT_NOFILE": "the check is a Go program, whose own runtime raises this limit to the hard one; fails with runc too",
	},
	"process_rlimits_fail": {wholeProgram: "the check prints nothing where the runtime refuses, as it must; fails with runc too"},
	"process_user":         {inOrder: lateProc},
	"root_readonly_true":   {inOrder: lateProc},
	"start":                {"exit status 1": "the check wants to create a container without a process, which is refused; fails with runc too"},
}
