package detect

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/dpmip/dpmip/hwabstraction"
	"github.com/dpmip/dpmip/internal/kernelbtf"
)

// probeKernel tries the features out, in a network namespace that ends with the
// probing thread.
func probeKernel() map[string]Finding {
	out := map[string]Finding{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		prog, err := trivial()
		out[BPF] = answer(err)
		if prog != nil {
			defer prog.Close()
		}
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			none := Finding{hwabstraction.Unknown, fmt.Sprintf("no namespace to try it in: %v", err)}
			for _, name := range []string{TCX, ClsBPF, IFB, TBF, NFTables, Flower, ActCt, ActPedit, ActCsum, ActMirred, ActGact} {
				out[name] = none
			}
			return
		}
		out[TCX] = answer(probeTCX(prog, err))
		probeLinks(prog, out)
		probeFlower(out)
		out[NFTables] = answer(probeNFTables())
	}()
	<-done
	return out
}

// probeTypes looks into the kernel's types, which takes the longest of all.
func probeTypes() map[string]Finding {
	out := map[string]Finding{}
	_ = kernelbtf.Use(func(types *btf.Cache) error {
		out[BTF], out[CtLookup] = probeBTF(types), probeCtLookup(types)
		return nil
	})
	return out
}

// answer makes a Finding of what a try returned. Refusals that mean "you may
// not" or something unforeseen leave it unknown.
func answer(err error) Finding {
	switch {
	case err == nil:
		return Finding{hwabstraction.Yes, ""}
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOENT),
		errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, btf.ErrNotFound):
		return Finding{hwabstraction.No, err.Error()}
	}
	return Finding{hwabstraction.Unknown, err.Error()}
}

// trivial loads a program that leaves every packet alone.
func trivial() (*ebpf.Program, error) {
	// Kernels before 5.11 charge programs to a limit; what cannot be lifted
	// shows in the load itself.
	_ = rlimit.RemoveMemlock()
	return ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()},
	})
}

func probeTCX(prog *ebpf.Program, loaded error) error {
	if prog == nil {
		return loaded
	}
	l, err := link.AttachTCX(link.TCXOptions{Interface: 1, Program: prog, Attach: ebpf.AttachTCXIngress})
	if err == nil {
		l.Close()
	}
	return err
}

// probeLinks tries cls_bpf on the loopback, and an ifb with a tbf.
func probeLinks(prog *ebpf.Program, out map[string]Finding) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		out[ClsBPF], out[IFB], out[TBF] = answer(err), answer(err), answer(err)
		return
	}
	defer h.Close()
	clsact := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: 1, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}
	err = h.QdiscAdd(clsact)
	if err == nil && prog != nil {
		err = h.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{LinkIndex: 1, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Priority: 1, Protocol: unix.ETH_P_ALL},
			Fd:          prog.FD(), Name: "probe", DirectAction: true,
		})
	}
	out[ClsBPF] = answer(err)

	attrs := netlink.NewLinkAttrs()
	attrs.Name = "ifb-probe"
	ifb := &netlink.Ifb{LinkAttrs: attrs}
	err = h.LinkAdd(ifb)
	out[IFB] = answer(err)
	at := 1
	if l, err := h.LinkByName(attrs.Name); err == nil {
		at = l.Attrs().Index
	}
	out[TBF] = answer(h.QdiscAdd(&netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: at, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		Rate:       1 << 20, Buffer: 1 << 16, Limit: 1 << 20,
	}))
}

func probeNFTables() error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	c.AddTable(&nftables.Table{Name: "probe", Family: nftables.TableFamilyINet})
	return c.Flush()
}

func probeBTF(types *btf.Cache) Finding {
	_, err := types.Kernel()
	return answer(err)
}

// probeCtLookup looks for the kfunc in the kernel and in its module.
func probeCtLookup(types *btf.Cache) Finding {
	const name = "bpf_skb_ct_lookup"
	kernel, err := types.Kernel()
	if err != nil {
		return answer(err)
	}
	var fn *btf.Func
	if err = kernel.TypeByName(name, &fn); err == nil {
		return Finding{hwabstraction.Yes, name}
	}
	module, merr := types.Module("nf_conntrack")
	if merr == nil && module.TypeByName(name, &fn) == nil {
		return Finding{hwabstraction.Yes, name + " of the module nf_conntrack"}
	}
	return Finding{hwabstraction.No, name + " is not in the kernel's BTF, nor in the module nf_conntrack"}
}
