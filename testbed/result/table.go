package result

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
)

// WriteTable prints the run for people: a line per move and the summary.
func (r *Run) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "MOVE\tVM\tFROM\tTO\tMODE\tSENT\tLOST\tDUP\tREORD\tBLACKOUT\tTCP\tRTO\tSTALL\tREDIRECTED\tHELD")
	for i, m := range r.Moves {
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s/%s/%s\t%d\t%d\t%d\t%d\t%s\t%d/%d\t%d\t%s\t%s\t%s\n",
			i+1, m.VM, m.From, m.To, m.Mode, m.Addresses, m.Redirect.Mode,
			m.UDP.Sent, m.UDP.Lost, m.UDP.Duplicated, m.UDP.Reordered, m.Blackout,
			m.TCP.Survived, m.TCP.Connections, m.TCP.Timeouts, m.TCP.MaxStall,
			optional(m.Redirect.Packets), optional(m.Hold.Packets))
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("result: %w", err)
	}
	if err := r.writeWindows(w); err != nil {
		return err
	}
	s := r.Summary
	_, err := fmt.Fprintf(w, "%d moves: %d lost, %d duplicated, %d of %d connections survived, blackout p50 %s p99 %s\n",
		s.Moves, s.Lost, s.Duplicated, s.Survived, s.Connections, s.P50Blackout, s.P99Blackout)
	return err
}

// writeWindows prints a line per window.
func (r *Run) writeWindows(w io.Writer) error {
	if len(r.Windows) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "WINDOW\tLENGTH\tSENT\tLOST\tDUP\tREORD\tSILENT\tTCP\tRTO\tSTALL")
	for _, x := range r.Windows {
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%d\t%s\t%d/%d\t%d\t%s\n", x.Name, x.Length, x.UDP.Sent, x.UDP.Lost, x.UDP.Duplicated, x.UDP.Reordered,
			x.Blackout, x.TCP.Survived, x.TCP.Connections, x.TCP.Timeouts, x.TCP.MaxStall)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("result: %w", err)
	}
	return nil
}

// optional shows a figure that may not have been taken.
func optional(n *uint64) string {
	if n == nil {
		return "-"
	}
	return strconv.FormatUint(*n, 10)
}
