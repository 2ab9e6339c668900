package frr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/router/igp"
	"github.com/dpmip/dpmip/testbed/clock"
	"github.com/dpmip/dpmip/testbed/netns"
)

// StartTimeout is how long a daemon may take to answer.
const StartTimeout = 20 * time.Second

// ErrNotInstalled says that Debian's package frr is missing.
var ErrNotInstalled = errors.New("frr: no /usr/lib/frr/zebra (install Debian's frr)")

const (
	programs = "/usr/lib/frr"
	account  = "frr"
	vtyGroup = "frrvty"
)

// Daemon is one of FRR's programs.
type Daemon string

// The daemons. Zebra is the one between the others and the kernel.
const (
	Zebra Daemon = "zebra"
	OSPF2 Daemon = "ospfd"
	OSPF3 Daemon = "ospf6d"
	ISIS  Daemon = "isisd"
	BGP   Daemon = "bgpd"
)

// Router is one FRR. It is not safe for concurrent use.
type Router struct {
	ns      *netns.NS
	dir     string
	daemons []Daemon // zebra first
	procs   map[Daemon]*netns.Process
	extra   map[Daemon][]string // arguments
	config  string              // all that was applied
}

// New prepares an FRR of zebra and the given daemons with its files in dir, in
// the Set's directory. Start starts it.
func New(ns *netns.NS, dir string, daemons ...Daemon) (*Router, error) {
	if _, err := os.Stat(filepath.Join(programs, string(Zebra))); err != nil {
		return nil, ErrNotInstalled
	}
	uid, gid, _, err := ids()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("frr: %w", err)
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		return nil, fmt.Errorf("frr: %w", err)
	}
	r := &Router{ns: ns, dir: dir, daemons: append([]Daemon{Zebra}, daemons...), procs: map[Daemon]*netns.Process{}, extra: map[Daemon][]string{}}
	for _, d := range r.daemons { // without a file of its own a daemon reads /etc/frr
		if err := os.WriteFile(r.file(d, "conf"), nil, 0o640); err != nil {
			return nil, fmt.Errorf("frr: %w", err)
		}
		if err := os.Chown(r.file(d, "conf"), uid, gid); err != nil {
			return nil, fmt.Errorf("frr: %w", err)
		}
	}
	return r, nil
}

func ids() (uid, gid, vty int, err error) {
	u, err := user.Lookup(account)
	if err != nil {
		return 0, 0, 0, fmt.Errorf("frr: %w", err)
	}
	g, err := user.LookupGroup(vtyGroup)
	if err != nil {
		return 0, 0, 0, fmt.Errorf("frr: %w", err)
	}
	uid, uerr := strconv.Atoi(u.Uid)
	gid, gerr := strconv.Atoi(u.Gid)
	vty, verr := strconv.Atoi(g.Gid)
	return uid, gid, vty, errors.Join(uerr, gerr, verr)
}

func (r *Router) file(d Daemon, suffix string) string {
	return filepath.Join(r.dir, string(d)+"."+suffix)
}

// Socket is the folder of the daemons' vty sockets: what vtysh needs.
func (r *Router) Socket() string { return r.dir }

// With gives a daemon more arguments, from its next start on.
func (r *Router) With(d Daemon, args ...string) { r.extra[d] = args }

// Start runs every daemon and applies the configuration, the integrated one of
// frr.conf.
func (r *Router) Start(config string) error {
	for _, d := range r.daemons {
		if err := r.Run(d); err != nil {
			return err
		}
	}
	return r.Apply(config)
}

// Run starts one daemon, without a configuration, and returns when it answers.
func (r *Router) Run(d Daemon) error {
	uid, gid, vty, err := ids()
	if err != nil {
		return err
	}
	if err := r.early(d); err != nil {
		return err
	}
	log := r.file(d, "log")
	cmd := exec.Command(filepath.Join(programs, string(d)), "-f", r.file(d, "conf"), "-i", r.file(d, "pid"),
		"-z", filepath.Join(r.dir, "zserv.api"), "--vty_socket", r.dir, "-P", "0", "-u", account, "-g", account, "--log", "file:"+log)
	cmd.Args = append(cmd.Args, r.extra[d]...)
	if d != OSPF2 && d != OSPF3 {
		cmd.SysProcAttr = asUser(uid, gid, vty)
	}
	out, err := os.OpenFile(log+".out", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("frr: %w", err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if r.procs[d], err = r.ns.Start(cmd); err != nil {
		return err
	}
	return r.answering(d)
}

// early writes what a zebra that is started again must know before its first
// route, to its own file: the integrated configuration comes when it runs.
func (r *Router) early(d Daemon) error {
	if d != Zebra || !strings.Contains(r.config, igp.OwnNextHops) {
		return nil
	}
	if err := os.WriteFile(r.file(d, "conf"), []byte(igp.OwnNextHops), 0o640); err != nil {
		return fmt.Errorf("frr: %w", err)
	}
	return nil
}

// asUser makes a daemon FRR's user from the beginning: a process that changes its
// user loses the signal that ends it with a killed lab. The two OSPFs insist on
// being started by root; of them, netns.Sweep removes what a killed run leaves.
func asUser(uid, gid, vty int) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Credential:  &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid), Groups: []uint32{uint32(vty)}},
		AmbientCaps: []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_NET_BIND_SERVICE, unix.CAP_SYS_ADMIN},
	}
}

// answering waits until the daemon's socket takes commands.
func (r *Router) answering(d Daemon) error {
	end := clock.Now() + StartTimeout
	for {
		_, err := r.vtysh("-d", string(d), "-c", "show version")
		if err == nil {
			return nil
		}
		select {
		case <-r.procs[d].Done():
			return fmt.Errorf("frr: %s ended: %w\n%s", d, r.procs[d].Wait(), r.Log(d))
		default:
		}
		if clock.Now() > end {
			return fmt.Errorf("frr: %s does not answer within %v: %w\n%s", d, StartTimeout, err, r.Log(d))
		}
		clock.SleepUntil(clock.Now() + 10*time.Millisecond)
	}
}

// Apply adds lines of an integrated configuration to what the daemons have.
func (r *Router) Apply(config string) error {
	r.config += config
	return r.load(config)
}

func (r *Router) load(config string) error {
	path := filepath.Join(r.dir, "frr.conf")
	if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
		return fmt.Errorf("frr: %w", err)
	}
	out, err := r.vtysh("-f", path)
	if err != nil {
		return fmt.Errorf("frr: applying the configuration: %w", err)
	}
	if strings.Contains(out, "% ") || strings.Contains(out, "line ") {
		return fmt.Errorf("frr: the configuration is refused:\n%s", out)
	}
	return nil
}

// Restart starts a daemon that has ended, with all that was applied.
func (r *Router) Restart(d Daemon) error {
	if err := r.Run(d); err != nil {
		return err
	}
	return r.load(r.config)
}

// Stop ends a daemon in order; Restart may follow.
func (r *Router) Stop(d Daemon) error { return r.procs[d].Stop() }

// Kill is a daemon's crash; Restart may follow.
func (r *Router) Kill(d Daemon) error { return r.procs[d].Kill() }

// Freeze makes a daemon stand still, as one that gets no CPU; Thaw lets it go
// on.
func (r *Router) Freeze(d Daemon) error { return r.procs[d].Freeze() }

// Thaw lets a frozen daemon go on.
func (r *Router) Thaw(d Daemon) error { return r.procs[d].Signal(syscall.SIGCONT) }

// KillAll is the crash of every daemon; StartAgain may follow.
func (r *Router) KillAll() error {
	var errs []error
	for _, d := range r.daemons {
		errs = append(errs, r.Kill(d))
	}
	return errors.Join(errs...)
}

// StartAgain starts every daemon after KillAll, with all that was applied.
func (r *Router) StartAgain() error {
	for _, d := range r.daemons {
		if err := r.Run(d); err != nil {
			return err
		}
	}
	return r.load(r.config)
}

// vtysh runs FRR's shell, whose sockets are files and need no namespace.
func (r *Router) vtysh(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), StartTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, "vtysh", append([]string{"--vty_socket", r.dir}, args...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("vtysh %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// Show runs commands and returns what they print.
func (r *Router) Show(commands ...string) (string, error) {
	var args []string
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	return r.vtysh(args...)
}

// JSON runs a command that prints JSON and reads it.
func (r *Router) JSON(command string, v any) error {
	out, err := r.Show(command)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), v); err != nil {
		return fmt.Errorf("frr: %s: %w\n%s", command, err, out)
	}
	return nil
}

// Log is what a daemon has said.
func (r *Router) Log(d Daemon) string {
	a, _ := os.ReadFile(r.file(d, "log"))
	b, _ := os.ReadFile(r.file(d, "log.out"))
	return string(a) + string(b)
}
