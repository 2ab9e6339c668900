package hwabstraction

// Mender is a Device that looks after what carries its rules: programs, tables and
// ports that others can take away. It may be asked while other goroutines use the
// device.
type Mender interface {
	// Mended counts what was put back since the device was opened, by a stable
	// snake_case name. It does not wait for the device.
	Mended() map[string]uint64
}
