package runtimes

// lacking begins the reason of what fails where the machine lacks something.
const lacking = "machine: "

// Reasons of several failures.
const (
	debugText = "the check looks for what runc's own parts log with --debug; ours log other things"
	errorText = "the check wants runc's words; the error is the same"
	noDummy   = lacking + "its kernel has no dummy devices; fails with runc too"
	mountedIn = "bind mounts from the container's own mounts are made before these in a user namespace or with mapped ids"
)

// knownRuncFailures are the tests of each file of runc's that fail, and why. What is
// said to fail with runc too was tried: RUNTIMES_VALIDATED=runc, with runc 1.5.3.
var knownRuncFailures = map[string]map[string]string{
	"cgroups": {
		"runc run (hugetlb limits)": lacking + "it has no hugetlb hierarchy; fails with runc too",
	},
	"cpu_affinity": {
		"runc exec [CPU affinity, only initial set from process.json]":      debugText,
		"runc exec [CPU affinity, initial and final set from process.json]": debugText,
		"runc exec [CPU affinity, initial and final set from config.json]":  debugText,
	},
	"create": {
		"runc create[detect fd leak as comprehensively as possible]": "init, which waits for start, holds its mounts until execve closes them; " +
			"they are the container's own, and nobody in it may look at init: TestExecInCreated",
	},
	"debug": {
		"global --debug":                              debugText,
		"global --debug to --log":                     debugText,
		"global --debug to --log --log-format 'text'": debugText,
		"global --debug to --log --log-format 'json'": debugText,
	},
	"exec": {
		"runc --debug exec":                   debugText,
		"runc --debug --log exec":             debugText,
		"runc exec --cgroup sub-cgroups [v1]": errorText + ": TestExecSubCgroups has the rest of it",
	},
	"memorypolicy": {
		"runc run memory policy calls syscall with invalid arguments": errorText,
	},
	"mounts": {
		"runc run [mount order, container bind-mount source] (userns)": mountedIn,
		"runc run [mount order, container idmap source]":               mountedIn,
		"runc run [mount order, container idmap source] (userns)":      mountedIn,
	},
	"mounts_propagation_unsafe": {
		"runc run [rootfsPropagation slave]": lacking + "unshare(1) cannot keep a mount namespace by a file in the sandbox of this package; passes outside of it",
	},
	"mounts_recursive": {
		"runc run [ check rbind,r*atime mounts]": lacking + "the check wants an option of tmpfs that its kernel does not list; fails with runc too",
	},
	"no_pivot": {
		"runc run --no-pivot must not expose bare /proc": lacking + "with runc, a mount of another program's may be in the way",
	},
	"pidfd-socket": {
		"runc create [ --pidfd-socket ]": "a signal of the caller's own to an init that waits for start is lost, SIGKILL excepted; the kill command's is not",
	},
	"run": {
		"runc run [/proc/self/exe clone]": debugText,
		"runc run [execve error]":         "the check wants the program's process to report that it cannot be executed; ours is told, and fails with a log message",
	},
	"scheduler": {
		"scheduler vs cpus": errorText,
	},
	"seccomp": {
		"runc run [seccomp] (SECCOMP_FILTER_FLAG_*)": debugText,
		"runc run [seccomp] (startContainer hook)":   "missing here: startContainer hooks run before the filter is loaded",
	},
	"seccomp-notify": {
		"runc run [seccomp] (SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)": debugText,
		"runc run [seccomp] (SCMP_ACT_NOTIFY no seccompagent)":        errorText,
	},
	"spec": {
		"spec validator": lacking + "the check clones a repository; fails with runc too",
	},
	"update": {
		"update rt period and runtime": lacking + "its kernel gives groups below the root no realtime; fails with runc too",
	},
	"userns": {
		"userns with network interface":         noDummy,
		"userns with network interface renamed": noDummy,
	},
}
