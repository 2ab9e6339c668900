package sim

import (
	"strconv"
	"time"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/hwabstraction/haltest"
	"github.com/dpmip/dpmip/mgmt"
	"github.com/dpmip/dpmip/mobility"
)

// verb is one kind of operation: its arguments, by kind, and what it does. An
// operation that makes no sense at its time does nothing.
type verb struct {
	args []string
	do   func(w *World, a []string)
}

var verbs = map[string]verb{
	// What operators and orchestrators do.
	"attach":   {[]string{"vm"}, func(w *World, a []string) { w.attach(w.guest(a[0])) }},
	"detach":   {[]string{"vm"}, func(w *World, a []string) { w.detach(w.guest(a[0])) }},
	"abort":    {[]string{"vm"}, func(w *World, a []string) { w.abort(w.guest(a[0])) }},
	"lost":     {[]string{"vm", "hypervisor"}, doLost},
	"evacuate": {[]string{"hypervisor", "keep|renumber", "routed|translated"}, doEvacuate},
	"move": {[]string{"vm", "hypervisor", "hot|warm|cold", "keep|renumber", "routed|translated",
		"redirect|drop|reject", "duration", "all|ready|switched"}, doMove},
	// Faults. A process dies after a number of its effects, for a while.
	"kill":      {[]string{"node", "count", "duration"}, func(w *World, a []string) { doKill(w, a, false) }},
	"reboot":    {[]string{"node", "count", "duration"}, func(w *World, a []string) { doKill(w, a, true) }},
	"cut":       {[]string{"node", "node", "duration"}, func(w *World, a []string) { w.net.cut(a[0], a[1], duration(a[2])) }},
	"backup":    {nil, func(w *World, _ []string) { w.mgmt.backup = w.mgmt.store.Clone() }},
	"restore":   {[]string{"duration"}, func(w *World, a []string) { w.mgmt.restore(duration(a[0])) }},
	"storefail": {[]string{"duration"}, func(w *World, a []string) { w.mgmt.failStore(duration(a[0])) }},
	"devfail":   {[]string{"hypervisor", "count"}, doDeviceFail},
	"tablefull": {[]string{"hypervisor", "duration"}, doTableFull},
}

// The arguments were checked by Parse.
func duration(s string) time.Duration { d, _ := time.ParseDuration(s); return d }

func doMove(w *World, a []string) {
	g := w.guest(a[0])
	j := &mover{w: w, g: g, from: g.where, to: a[1], pause: duration(a[6])}
	j.opts = options(a[2], a[3], a[4], a[5])
	j.stop = map[string]stopAt{"ready": stopReady, "switched": stopSwitched}[a[7]]
	if g.job != nil || !g.attached || g.where == "" || g.where == j.to {
		return
	}
	if j.opts.Mode == mobility.ModeCold && j.stop == stopSwitched {
		j.stop = stopReady
	}
	g.job = j
	j.prepare()
}

func options(mode, addresses, redirect, policy string) (o mobility.MoveOptions) {
	_ = o.Mode.UnmarshalText([]byte(mode))
	_ = o.Addresses.UnmarshalText([]byte(addresses))
	_ = o.Redirect.UnmarshalText([]byte(redirect))
	_ = o.New.UnmarshalText([]byte(policy))
	return o
}

// doLost kills a VM with its hypervisor fenced, and starts it elsewhere.
func doLost(w *World, a []string) {
	g := w.guest(a[0])
	if g.job != nil || !g.attached || g.where == "" || g.where == a[1] {
		return
	}
	j := &mover{w: w, g: g, from: g.where, to: a[1], lost: true}
	g.job, g.where = j, ""
	g.endanger("its hypervisor was lost", ^mobility.Epoch(0))
	g.excused[j.from] = true
	j.prepare()
}

func doEvacuate(w *World, a []string) {
	if w.now.Before(w.patient) {
		return
	}
	o := options("hot", a[1], a[2], "redirect")
	w.mgmt.command(func(id mgmt.CommandID) mgmt.Event {
		return mgmt.Evacuate{ID: id, Hypervisor: a[0], Options: o}
	}, func(d mgmt.Done, ok bool) {
		for _, m := range d.Moves {
			g := w.guest(m.VM.Bytes)
			if g.job != nil || g.where != m.From {
				continue
			}
			j := &mover{w: w, g: g, from: m.From, to: m.To, opts: m.Options, pause: 20 * time.Millisecond, epoch: m.Epoch}
			g.job = j
			j.await()
		}
	})
}

func doKill(w *World, a []string, hard bool) {
	n, _ := strconv.Atoi(a[1])
	w.process(a[0]).doom(n, duration(a[2]), hard)
}

// doDeviceFail makes the next changes of VMs' rules on a card fail as on a port
// that is gone.
func doDeviceFail(w *World, a []string) {
	n, _ := strconv.Atoi(a[1])
	for i := range n {
		for _, k := range []hwabstraction.Kind{hwabstraction.KindDeliver, hwabstraction.KindRedirect, hwabstraction.KindEgress} {
			w.hypervisors[a[0]].device.Inject(haltest.Fault{Apply: i + 1, Kind: k, Err: hwabstraction.ErrPortGone})
		}
	}
}

// doTableFull lets a card take no new rules for a while, but its own.
func doTableFull(w *World, a []string) {
	h := w.hypervisors[a[0]]
	h.device.SetMaxRules(len(ranges(h.name)) + len(pools(h.name)))
	w.after(duration(a[1]), func() { h.device.SetMaxRules(0) })
}
