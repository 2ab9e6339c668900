package traffic

import (
	"os"
	"runtime"
	"runtime/debug"
	"sync"
)

// processors is the least GOMAXPROCS of a process that makes traffic. A
// goroutine that sleeps or reads in a system call keeps the runtime's processor
// until the runtime takes it away, and ends the call only when it gets one
// again. With as many processors as the machine has, a command of the lab waits
// its turn behind every stream, 10 ms and more; with these the kernel decides,
// by who has waited. Many more only make the machine's own queue longer.
const processors = 16

// garbage is the collector's percentage: it takes a quarter of those
// processors while it runs, so it should run seldom. GOGC wins.
const garbage = 400

// widen makes the process fit for traffic; it is called before any starts.
var widen = sync.OnceFunc(func() {
	if runtime.GOMAXPROCS(0) < processors {
		runtime.GOMAXPROCS(processors)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
})
