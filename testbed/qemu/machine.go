package qemu

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
)

// Port is the name of the serial port that results come out of.
const Port = "dpmip.results"

// Options say what to boot.
type Options struct {
	Kernel  string   // vmlinuz
	Initrds []string // concatenated: image, modules, payload
	Disk    string   // raw; "" = none
	Memory  int      // MiB; 0 = 1024
	CPUs    int      // 0 = 2
	Append  string   // besides what every boot has
	Dir     string   // for sockets and results; of this machine alone
	Console io.Writer
	Results io.Writer // every line as it came; nil = nowhere
}

// Result is one line that the payload has reported.
type Result struct {
	Name   string          `json:"name"`
	Failed string          `json:"failed,omitempty"` // why; "" = it passed
	Data   json.RawMessage `json:"data,omitempty"`
	// Seconds is how long it took, by the guest's clock; 0 = not measured.
	Seconds float64 `json:"seconds,omitempty"`
	// Last is the sentinel: the payload has come to its end.
	Last bool `json:"last,omitempty"`
}

// Machine is a running one.
type Machine struct {
	cmd     *exec.Cmd
	results chan Result
	ended   chan struct{}
	err     error // valid after ended
	last    bool  // the sentinel has come; valid after ended
	all     sync.WaitGroup
}

// Boot starts a machine; it ends with ctx, or with its own power-off.
func Boot(ctx context.Context, o Options) (*Machine, error) {
	initrd := filepath.Join(o.Dir, "initrd.img")
	if err := concatenate(initrd, o.Initrds); err != nil {
		return nil, err
	}
	pr, pw, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("qemu: %w", err)
	}
	m := &Machine{results: make(chan Result, 64), ended: make(chan struct{})}
	m.cmd = exec.CommandContext(ctx, "qemu-system-aarch64", o.args(initrd)...)
	m.cmd.Stdout, m.cmd.Stderr = o.Console, o.Console
	m.cmd.ExtraFiles = []*os.File{pw} // 3: the results
	err = m.cmd.Start()
	pw.Close()
	if err != nil {
		pr.Close()
		return nil, fmt.Errorf("qemu: %w", err)
	}
	m.all.Go(func() {
		defer pr.Close()
		if o.Results != nil {
			m.read(io.TeeReader(pr, o.Results))
			return
		}
		m.read(pr)
	})
	go func() {
		m.err = m.cmd.Wait()
		m.all.Wait()
		close(m.ended)
	}()
	return m, nil
}

// args of QEMU. TCG, no default devices; the cpu is one whose emulation is fast.
func (o Options) args(initrd string) []string {
	memory, cpus := o.Memory, o.CPUs
	if memory == 0 {
		memory = 1024
	}
	if cpus == 0 {
		cpus = 2
	}
	args := []string{
		"-M", "virt", "-cpu", "cortex-a72", "-smp", strconv.Itoa(cpus), "-m", strconv.Itoa(memory), "-nodefaults", "-no-user-config",
		"-display", "none", "-no-reboot", "-nic", "none", "-serial", "stdio",
		"-kernel", o.Kernel, "-initrd", initrd, "-append", "console=ttyAMA0 panic=-1 quiet " + o.Append,
		"-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
		"-add-fd", "fd=3,set=1", "-chardev", "file,id=results,path=/dev/fdset/1,append=on",
		"-device", "virtserialport,chardev=results,name=" + Port,
	}
	if o.Disk != "" {
		args = append(args, "-drive", "if=none,id=disk,format=raw,cache=writethrough,file="+o.Disk, "-device", "virtio-blk-pci,drive=disk")
	}
	return args
}

// concatenate joins archives; the kernel reads one after the other, each at a
// multiple of four.
func concatenate(to string, files []string) error {
	var all bytes.Buffer
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return fmt.Errorf("qemu: %w", err)
		}
		all.Write(b)
		all.Write(make([]byte, -len(b)&3))
	}
	if err := os.WriteFile(to, all.Bytes(), 0o600); err != nil {
		return fmt.Errorf("qemu: %w", err)
	}
	return nil
}

// read passes results on until the machine is gone. What is no result is a
// result that failed.
func (m *Machine) read(r io.Reader) {
	defer close(m.results)
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var res Result
		if err := json.Unmarshal(sc.Bytes(), &res); err != nil {
			res = Result{Name: "unreadable", Failed: fmt.Sprintf("%q: %v", sc.Text(), err)}
		}
		if res.Last {
			m.last = true
			continue
		}
		m.results <- res
	}
}

// Results come as the payload reports them; the channel is closed when the
// machine is gone. The sentinel is not among them.
func (m *Machine) Results() <-chan Result { return m.results }

// Cut takes the power away: what the guest has not written is lost.
func (m *Machine) Cut() error { return m.cmd.Process.Kill() }

// ErrNoSentinel means that the payload did not come to its end: whatever it has
// reported, the run has failed.
var ErrNoSentinel = errors.New("qemu: the machine is gone, and its payload did not come to its end")

// Wait gives the results that nobody has taken yet and waits for power-off;
// without the sentinel it fails.
func (m *Machine) Wait() ([]Result, error) {
	var all []Result
	for r := range m.results {
		all = append(all, r)
	}
	<-m.ended
	switch {
	case m.err != nil:
		return all, fmt.Errorf("qemu: %w", m.err)
	case !m.last:
		return all, ErrNoSentinel
	}
	return all, nil
}
