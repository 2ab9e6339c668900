package imports

// module is the path that all packages of the project begin with.
const module = "github.com/dpmip/dpmip"

// room is a folder with its packages and those below it, where no deeper room
// is named.
type room struct {
	path string
	// may lists the rooms it may import besides itself, each with what lies
	// below it; "=x" means the package x alone.
	may []string
	// bare forbids all but the standard library and the rooms of may.
	bare bool
	// pure forbids, outside of tests, goroutines, sockets, clocks and logs.
	pure bool
	// why is the reason that a refused import is told.
	why string
	// bans tells particular imports by a reason of their own.
	bans map[string]string
}

const (
	oneBridge  = "offload is the one bridge between what we mean and what a NIC can do"
	neverABack = "the contract is enough; detect chooses the backend and cmd hands it over"
	labOnly    = "nothing that is shipped may lean on the testbed"
)

// backends are the siblings behind the contract.
var backends = []string{
	"hwabstraction/software", "hwabstraction/switchdev", "hwabstraction/nicmem", "hwabstraction/flows",
}

// words are what every program speaks.
var words = []string{"mobility"}

var rooms = []room{
	{path: "api", why: "the interfaces are described once, by nothing but protobuf"},
	{path: "mobility", bare: true, pure: true, why: "the words are types that everybody imports: they know nobody"},
	{path: "mobility/wire", may: []string{"=mobility"}, bare: true, pure: true, why: "the codec turns bytes into words and nothing else"},
	{
		path: "mobility/registration", may: []string{"=mobility", "mobility/wire"}, bare: true, pure: true,
		why: "the machines are functions of state, event and time, so that the simulator can run them",
	},
	{
		path: "mobility/transport", may: []string{"mobility", "internal"},
		why: "sockets carry messages and know neither agent nor management node",
	},
	{
		path: "agent", may: append([]string{"api", "offload", "mgmtclient", "dnsupdate", "=hwabstraction", "internal"}, words...),
		why:  "the agent decides; its hardware comes as values of the contract",
		bans: map[string]string{"hwabstraction": neverABack, "mgmt": "agent and management node meet on the wire only"},
	},
	{
		path: "agent/bul", may: []string{"=mobility", "=hwabstraction", "internal"}, bare: true,
		why: "the list lives in a region and knows neither sockets nor decisions",
	},
	{path: "hwabstraction", bare: true, pure: true, why: "the contract knows no protocol and no backend"},
	{path: "hwabstraction/software", may: []string{"=hwabstraction", "internal"}, why: "backends are siblings and know the contract only"},
	{path: "hwabstraction/switchdev", may: []string{"=hwabstraction", "internal"}, why: "backends are siblings and know the contract only"},
	{path: "hwabstraction/nicmem", may: []string{"=hwabstraction", "internal"}, why: "backends are siblings and know the contract only"},
	{path: "hwabstraction/flows", may: []string{"=hwabstraction", "internal"}, why: "backends are siblings and know the contract only"},
	{path: "hwabstraction/haltest", may: []string{"=hwabstraction"}, why: "the suite must hold for backends it has never heard of"},
	{
		path: "hwabstraction/detect", may: append([]string{"=hwabstraction", "internal"}, backends...),
		why: "detect builds hardware and knows no protocol",
	},
	{
		path: "offload", may: append([]string{"=hwabstraction"}, words...), bare: true,
		why:  "plan and reconciler know words and contract, never a backend or a program",
		bans: map[string]string{"hwabstraction": neverABack},
	},
	{path: "mgmtclient", may: append([]string{"api"}, words...), why: "a client of the interfaces, for every program"},
	{
		path: "mgmt", may: append([]string{"api", "dnsupdate", "internal"}, words...),
		why: "the management node speaks to agents and routers by messages only",
		bans: map[string]string{
			"hwabstraction": "the management node programs no hardware", "agent": "they meet on the wire only",
			"router": "they meet on the wire only",
		},
	},
	{
		path: "router", may: append([]string{"api", "mgmtclient", "internal"}, words...),
		why:  "a router turns registrations into routes and has no NIC to program",
		bans: map[string]string{"hwabstraction": "routers program the kernel's FIB through router/fib, not a NIC"},
	},
	{path: "dnsupdate", may: append([]string{"internal"}, words...), why: "name updates are a leaf: callers hand it names and addresses"},
	{path: "cross", may: []string{"internal"}, why: "packaging knows files, not programs"},
	{
		path: "internal", may: append([]string{"api", "=hwabstraction"}, words...),
		why:  "small shared rooms lie below the programs",
		bans: map[string]string{"hwabstraction": neverABack},
	},
	{
		path: "cmd", may: append([]string{
			"api", "agent", "mgmt", "mgmtclient", "router", "offload", "dnsupdate", "=hwabstraction", "hwabstraction/detect", "internal",
		}, words...),
		why:  "main wires programs together",
		bans: map[string]string{"hwabstraction": "cmd takes what detect gives, never a backend"},
	},
	{path: "cmd/dpmip-init", may: []string{"cross", "internal"}, why: "PID 1 keeps an agent running and knows none of its words"},
	{path: "cmd/dpmip-lab", may: []string{""}, why: "the lab may know everything"},
	{path: "testbed", may: []string{""}, why: "the testbed may know everything"},
}

// banned are imports that no room may have, whatever else it may.
var banned = map[string]string{
	module + "/testbed":           labOnly,
	"go.etcd.io/etcd/server":      "import clientv3 only: an embedded server would make the management node a cluster of its own",
	"github.com/osrg/gobgp/v3":    "GoBGP is github.com/osrg/gobgp/v4",
	"google.golang.org/grpc":      "Connect serves gRPC, gRPC-Web and JSON from one handler",
	"k8s.io":                      "no orchestrator's types on any floor",
	"github.com/pkg/errors":       "fmt.Errorf with %w does it",
	"github.com/sirupsen/logrus":  "logs are slog",
	"go.uber.org/zap":             "logs are slog",
	"github.com/stretchr/testify": "tests compare with go-cmp",
	"golang.org/x/exp":            "the standard library has what was worth keeping",
	"io/ioutil":                   "deprecated since Go 1.16",
	"math/rand":                   "math/rand/v2 is seeded by itself and faster",
	"github.com/golang/protobuf":  "google.golang.org/protobuf has replaced it",
}

// exempt are rooms that a ban of the same path does not concern.
var exempt = map[string][]string{
	module + "/testbed": {"testbed", "cmd/dpmip-lab"},
	"go.uber.org/zap":   {"mgmt/store/etcd"}, // etcd's client logs by it unless it is given one that does not
}

// home says which rooms alone may use a library outside of tests, so that it
// can be replaced.
var home = map[string][]string{
	"github.com/cilium/ebpf":       {"hwabstraction", "internal/kernelbtf", "testbed", "cmd/dpmip-lab"},
	"github.com/ti-mo/conntrack":   {"hwabstraction", "testbed"},
	"github.com/google/nftables":   {"hwabstraction", "testbed"},
	"go.etcd.io/bbolt":             {"mgmt/store/bolt", "router/state", "agent/daemon", "internal/boltfile", "testbed"},
	"go.etcd.io/etcd":              {"mgmt/store/etcd", "testbed"},
	"github.com/osrg/gobgp":        {"router/bgp", "testbed"},
	"github.com/miekg/dns":         {"dnsupdate", "testbed"},
	"github.com/BurntSushi/toml":   {"internal/strictconf"},
	"github.com/spf13/cobra":       {"cmd"},
	"github.com/vishvananda/netns": {"hwabstraction", "router/fib", "internal", "testbed"},
}

// forTests is what the tests of any room may import besides.
var forTests = []string{"hwabstraction/haltest", "internal"}
