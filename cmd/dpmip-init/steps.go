package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/cross/bundle"
	"github.com/dpmip/dpmip/cross/card"
	"github.com/dpmip/dpmip/cross/health"
	"github.com/dpmip/dpmip/cross/machine"
	"github.com/dpmip/dpmip/cross/modules"
	"github.com/dpmip/dpmip/cross/ringlog"
	"github.com/dpmip/dpmip/cross/slots"
	"github.com/dpmip/dpmip/cross/supervise"
	"github.com/dpmip/dpmip/cross/watchdog"
	"github.com/dpmip/dpmip/internal/strictconf"
)

// What is where, and how long it is waited for.
const (
	partitionWait = 2 * time.Second
	moduleFolder  = "/lib/modules"
	moduleList    = "dpmip.list"
	ringSize      = 1 << 20 // bytes
	// startGrace is how long an agent may take until it answers: a full device is
	// read back first.
	startGrace = 60 * time.Second
)

// openLog writes to console and ring from now on.
func (s *system) openLog() {
	s.out = newConsole(os.Stdout)
	s.log = log.New(s.out, "", log.Lmicroseconds)
	ring, err := ringlog.Open(ringFile, ringSize)
	if err != nil {
		s.note("log", err)
		return
	}
	s.out = io.MultiWriter(s.out, ring)
	s.log.SetOutput(s.out)
}

// prepare makes the kernel ready, and reads the configuration.
func (s *system) prepare() {
	s.note("limits", unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}))
	s.note("limits", unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 65536, Max: 65536}))
	os.Setenv("PATH", "/usr/bin:/bin")
	n, err := modules.Load(moduleFolder, moduleList)
	s.note("modules", err)
	s.log.Printf("%d modules loaded after %v", n, time.Since(s.start).Round(time.Millisecond))
	s.mountConfig()
	cfg, err := strictconf.Load[machine.Config](machine.ConfigDir + "/init.toml")
	if err != nil {
		s.note("configuration", err)
		cfg = machine.Config{}
		cfg.SetDefaults()
	}
	s.cfg = cfg
	s.configure()
}

// mountConfig takes the partition, or what the image carries.
func (s *system) mountConfig() {
	if b, err := os.ReadFile("/proc/cmdline"); err == nil && strings.Contains(" "+string(b), " dpmip.config=image") {
		s.log.Printf("configuration of the image, as the kernel's command line says")
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), partitionWait)
	defer cancel()
	dev, err := machine.MountConfig(ctx)
	switch {
	case errors.Is(err, machine.ErrNoPartition):
		s.log.Printf("%v: the configuration of the image is used, and forgotten at power-off", err)
	case err != nil:
		s.note("configuration", err)
	default:
		s.log.Printf("configuration on %s", dev)
	}
}

// configure does what init.toml says to the kernel.
func (s *system) configure() {
	c := &s.cfg
	s.note("hostname", unix.Sethostname([]byte(c.Hostname)))
	for _, m := range c.Modules {
		s.note("modules", modules.Insert(filepath.Join(moduleFolder, m), ""))
	}
	s.note("memory", machine.HugePages(c.Memory.HugePages))
	if h, err := netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		s.note("network", err)
	} else {
		s.note("network", machine.SetNetwork(h, c.Links, c.Routes))
		h.Close()
	}
	s.note("sysctls", machine.SetSysctls("/proc/sys", append(machine.Sysctls[:len(machine.Sysctls):len(machine.Sysctls)], c.Sysctls...)))
	if c.Watchdog.Timeout == 0 {
		return
	}
	dog, err := watchdog.Open(c.Watchdog.Device.String(), c.Watchdog.Timeout.D())
	if err != nil {
		s.note("watchdog", err)
		return
	}
	s.dog = dog
	s.log.Printf("watchdog: resets the card after %v", dog.Timeout())
}

// openCard makes ready what runs the agent.
func (s *system) openCard() {
	if s.cfg.Agent.Off {
		s.log.Printf("agent: off, as the configuration says")
		return
	}
	s.agent = health.New(s.cfg.Agent.Socket.String())
	folder := machine.ConfigDir + "/slots"
	s.note("slots", os.MkdirAll(folder, 0o700))
	store, err := slots.Open(slots.Dir(folder), s.updateKeys(), runtime.GOARCH)
	s.note("slots", err)
	u := &s.cfg.Update
	s.card = card.New(card.Config{
		Store: store, Runner: s, Doctor: s.agent, Scratch: scratch, Image: imageAgent,
		Tries: u.Tries, Deadline: u.Deadline.D(), Settle: u.Settle.D(), Poll: time.Second, Log: s.log.Printf,
	})
	s.sup = supervise.New(supervise.Config{
		Starter: s.reaper, Output: s.out, Probe: s.agent.Probe, Grace: startGrace,
		Event: s.event,
	}, s.program(s.card.Boot()))
}

// event is what the supervisor reports.
func (s *system) event(e supervise.Event) {
	s.log.Printf("agent %d %s %s", e.PID, e.Kind, e.Detail)
	switch e.Kind {
	case supervise.Started:
		s.card.Count(card.AgentStarts)
	case supervise.Unhealthy:
		s.card.Count(card.AgentUnhealthy)
	case supervise.Ended, supervise.Failed:
		s.card.Count(card.AgentEnds)
		s.card.Ended(e.Detail)
	}
}

func (s *system) updateKeys() []ed25519.PublicKey {
	b, err := os.ReadFile(s.cfg.Update.Keys.String())
	if err != nil {
		s.note("no updates, and no slots", err)
		return nil
	}
	keys, err := bundle.ParsePublic(string(b))
	s.note("no updates, and no slots", err)
	return keys
}

// Switch is what the card's updates call.
func (s *system) Switch(ctx context.Context, agent string) error {
	return s.sup.Switch(ctx, s.program(agent))
}

func (s *system) program(agent string) supervise.Program {
	return supervise.Program{
		Path: agent, Args: []string{"--config", s.cfg.Agent.Config.String()},
		Env: []string{"PATH=/usr/bin:/bin", "HOME=/"}, Dir: "/",
	}
}

// startPayload runs the testbed's program, if there is one; the card goes down
// when it has ended.
func (s *system) startPayload(ctx context.Context) {
	if _, err := os.Stat(payload); err != nil {
		return
	}
	child, err := s.reaper.Start(reapSpec(payload))
	if err != nil {
		s.note("payload", err)
		s.end <- powerOff
		return
	}
	s.log.Printf("payload: started after %v", time.Since(s.start).Round(time.Millisecond))
	go func() {
		select {
		case st := <-child.Done():
			s.log.Printf("payload: %s", st)
			select {
			case s.end <- powerOff:
			default:
			}
		case <-ctx.Done():
		}
	}()
}
