package criu

// Verb is what criu is asked for. Its value is that of the protocol.
type Verb int

// The verbs.
const (
	Dump    Verb = 1
	Restore Verb = 2
	PreDump Verb = 4

	notification Verb = 6
)

// CgroupMode says what becomes of cgroups and their settings. Its value is that of
// the protocol.
type CgroupMode int

// CgroupModes by the names that runc has for them.
var CgroupModes = map[string]CgroupMode{"": 3, "soft": 3, "full": 4, "strict": 5, "ignore": 1}

// Options are the settings of one run; their zero values are criu's defaults.
// Directories are open in the calling process. What is of one verb only is left out
// by criu for others.
type Options struct {
	Images, Work int    // directories; Work 0: Images
	LogFile      string // name in Work
	ConfigFile   string // whose settings win
	Root         string // of the container, a mount point where criu runs
	Pid          int    // whom to dump, with all its children
	ParentImages string // of an earlier dump, relative to Images; only what has changed since is dumped
	FreezeCgroup string

	LeaveRunning, TCPEstablished, TCPSkipInFlight, ExtUnixSockets, ShellJob, FileLocks, LinkRemap, AutoDedup, LazyPages bool

	EmptyNamespaces int // CLONE_NEW* whose contents are left out
	PageServer      PageServer
	CgroupMode      CgroupMode
	CgroupRoots     []CgroupRoot
	External        []string  // resources that are not criu's to dump, as "net[inode]:key"
	ExternalMounts  []Mapping // key: where, value: what it is called in the images, or where it is now
	Inherited       []Inherited
	Joined          []Mapping // kind of a namespace that is there already, its file
	LSMProfile      string
	LSMMountContext string
}

// PageServer is where pages go instead of into files.
type PageServer struct {
	Address string
	Port    int
}

// Mapping is a name and what it stands for.
type Mapping struct{ Key, Value string }

// Inherited is a descriptor of criu's that takes the place of something that was
// dumped.
type Inherited struct {
	Key string
	FD  int
}

// CgroupRoot is where the groups of a controller are restored; "" is all that have
// no CgroupRoot of their own.
type CgroupRoot struct{ Controller, Path string }

const (
	logDebug  = 4
	reqType   = 1
	reqOpts   = 2
	reqNotify = 3 // that a notification was dealt with
)

// request is a criu_req.
func request(v Verb, o *Options) message {
	var m message
	m.number(reqType, int(v))
	if o == nil {
		m.flag(reqNotify, true)
		return m
	}
	m.bytes(reqOpts, o.encode(v == Restore))
	return m
}

// encode makes a criu_opts; the numbers of its fields are those of criu's rpc.proto.
func (o *Options) encode(restore bool) message {
	var m message
	m.number(1, o.Images)
	m.number(2, o.Pid)
	m.flag(3, o.LeaveRunning)
	m.flag(4, o.ExtUnixSockets)
	m.flag(5, o.TCPEstablished)
	m.flag(6, restore) // another file of the same device will do
	m.flag(7, o.ShellJob)
	m.flag(8, o.FileLocks)
	m.number(9, logDebug)
	m.text(10, o.LogFile)
	if o.PageServer.Port != 0 {
		var server message
		server.text(1, o.PageServer.Address)
		server.number(2, o.PageServer.Port)
		m.bytes(11, server)
	}
	m.flag(12, true) // tell what happens
	m.text(13, o.Root)
	m.text(14, o.ParentImages)
	m.flag(15, o.ParentImages != "") // note what changes from now on
	m.flag(16, o.AutoDedup)
	m.number(17, o.Work)
	m.flag(18, o.LinkRemap)
	for _, e := range o.ExternalMounts {
		m.bytes(23, e.encode())
	}
	m.flag(24, true)
	for _, r := range o.CgroupRoots {
		var root message
		root.text(1, r.Controller)
		root.text(2, r.Path)
		m.bytes(25, root)
	}
	m.flag(26, restore) // the process becomes a child of ours
	for _, i := range o.Inherited {
		var inherited message
		inherited.text(1, i.Key)
		inherited = append(inherited, 2<<3|wireVarint, byte(i.FD)) // 0 counts
		m.bytes(27, inherited)
	}
	m.number(34, int(o.CgroupMode))
	m.texts(37, o.External)
	m.number(38, o.EmptyNamespaces)
	for _, j := range o.Joined {
		m.bytes(39, j.encode())
	}
	m.text(44, o.FreezeCgroup)
	m.flag(46, o.TCPSkipInFlight)
	m.flag(48, o.LazyPages)
	m.flag(50, true) // a terminal's other end comes with a notification
	m.text(51, o.ConfigFile)
	m.text(53, o.LSMProfile)
	m.text(63, o.LSMMountContext)
	return m
}

func (p Mapping) encode() message {
	var m message
	m.text(1, p.Key)
	m.text(2, p.Value)
	return m
}

// answer is a criu_resp.
type answer struct {
	verb    Verb
	success bool
	errno   int
	script  string // of a notification
	pid     int
}

func decode(m message) (a answer, err error) {
	err = m.fields(func(field int, n uint64, b []byte) error {
		switch field {
		case 1:
			a.verb = Verb(n)
		case 2:
			a.success = n != 0
		case 5:
			return message(b).fields(func(field int, n uint64, b []byte) error {
				switch field {
				case 1:
					a.script = string(b)
				case 2:
					a.pid = int(n)
				}
				return nil
			})
		case 7:
			a.errno = int(n)
		}
		return nil
	})
	return a, err
}
