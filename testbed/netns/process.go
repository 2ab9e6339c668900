package netns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// StopGrace is how long a process has between SIGTERM and SIGKILL.
const StopGrace = 3 * time.Second

// Process is a program running inside a namespace. It dies with the lab's
// process, even if that is killed.
type Process struct {
	cmd  *exec.Cmd
	ns   string
	done chan struct{}
	err  error // of Wait; valid once done is closed
}

// Start runs cmd inside the namespace, in the host's mount namespace, in a
// process group of its own. The Set stops it on Close.
func (n *NS) Start(cmd *exec.Cmd) (*Process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	p := &Process{cmd: cmd, ns: n.name, done: make(chan struct{})}
	err := n.set.spawn.do(func() error { return n.Do(cmd.Start) })
	if err != nil {
		return nil, fmt.Errorf("netns: %s: start %s: %w", n.name, cmd.Path, err)
	}
	n.set.adopt(p)
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Run starts cmd and waits for its end.
func (n *NS) Run(cmd *exec.Cmd) error {
	p, err := n.Start(cmd)
	if err != nil {
		return err
	}
	return p.Wait()
}

// Renice gives every thread of the process a priority; those that they start
// have it, too.
func (p *Process) Renice(nice int) error {
	dir := fmt.Sprintf("/proc/%d/task", p.PID())
	for {
		threads, err := os.ReadDir(dir)
		if errors.Is(err, os.ErrNotExist) { // it has ended
			return nil
		}
		if err != nil {
			return fmt.Errorf("netns: renice: %w", err)
		}
		changed := false
		for _, e := range threads {
			tid, err := strconv.Atoi(e.Name())
			if err != nil {
				return fmt.Errorf("netns: renice: thread %q: %w", e.Name(), err)
			}
			is, err := syscall.Getpriority(syscall.PRIO_PROCESS, tid) // as the kernel tells it: 20 - nice
			if errors.Is(err, syscall.ESRCH) || err == nil && 20-is == nice {
				continue
			}
			if err == nil {
				err = syscall.Setpriority(syscall.PRIO_PROCESS, tid, nice)
			}
			if err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("netns: renice %s: %w", p.ns, err)
			}
			changed = true
		}
		if !changed { // one that was seen for the first time may have started another
			return nil
		}
	}
}

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait blocks until the process has ended and says how.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Signal sends a signal; a process that has ended is no error.
func (p *Process) Signal(s os.Signal) error {
	err := p.cmd.Process.Signal(s)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// Freeze sends SIGSTOP and returns once every thread of the process stands
// still: the signal alone would leave it time for one more thing. Signal with
// SIGCONT lets it go on; a process that has ended is no error.
func (p *Process) Freeze() error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for {
		err := unix.Waitid(unix.P_PID, p.PID(), nil, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECHILD):
			return nil
		}
		return err
	}
}

// Kill sends SIGKILL and waits: the crash of a daemon.
func (p *Process) Kill() error {
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return nil
}

// Stop sends SIGTERM, and SIGKILL after StopGrace; it returns how the process
// ended. A process that had to be killed is an error.
func (p *Process) Stop() error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	timer := time.NewTimer(StopGrace)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
	}
	if err := p.Kill(); err != nil {
		return err
	}
	return fmt.Errorf("netns: %s: %s did not stop within %v and was killed", p.ns, filepath.Base(p.cmd.Path), StopGrace)
}

func stopAll(procs []*Process) error {
	errs := make([]error, len(procs))
	var wg sync.WaitGroup
	for i, p := range procs {
		wg.Go(func() { errs[i] = p.Stop() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// killMembers kills every process whose network namespace is the one at path
// and waits until none is left. The caller itself is spared.
func killMembers(path string) error {
	var want unix.Stat_t
	if err := unix.Stat(path, &want); err != nil {
		return nil // no namespace, no members
	}
	deadline := time.Now().Add(StopGrace)
	for {
		pids := members(want)
		if len(pids) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("netns: processes %v in %s do not die", pids, path)
		}
		for _, pid := range pids {
			killAndWait(pid)
		}
	}
}

// members lists the processes in the namespace, but for the caller.
func members(want unix.Stat_t) (pids []int) {
	links, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, l := range links {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(l))))
		var got unix.Stat_t
		if err != nil || pid == os.Getpid() || unix.Stat(l, &got) != nil {
			continue
		}
		if got.Ino == want.Ino && got.Dev == want.Dev {
			pids = append(pids, pid)
		}
	}
	return pids
}

// killAndWait kills by pidfd, so that a recycled pid is never hit, and waits up
// to 100 ms for the end.
func killAndWait(pid int) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) != nil {
		return
	}
	_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 100)
}

// spawner starts processes from one thread that lives as long as the Set: the
// kernel ties the parent-death signal to the thread that forked.
type spawner struct {
	work chan func()
	done chan struct{}
}

func newSpawner() *spawner {
	s := &spawner{work: make(chan func()), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for f := range s.work {
			f()
		}
	}()
	return s
}

func (s *spawner) do(f func() error) (err error) {
	ready := make(chan struct{})
	s.work <- func() {
		defer close(ready)
		err = f()
	}
	<-ready
	return err
}

func (s *spawner) stop() {
	close(s.work)
	<-s.done
}
