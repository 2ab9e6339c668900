// Package strictconf reads TOML configuration strictly: an unknown key, a wrong
// type, a missing required key or a bad value is an error that names file, line
// and key.
//
//	type Config struct {
//		StateDir strictconf.Path     `toml:"state_dir,required"`
//		Locators []netip.Addr        `toml:"locators"`
//		Retry    strictconf.Duration `toml:"first_retry"`
//		Key      strictconf.Key      `toml:"key"`
//	}
//	cfg, err := strictconf.Load[Config]("/etc/dpmip/agent.toml")
//
// A *T with a SetDefaults method is filled by it first; one with a
// Validate(*Source) error method is checked by it last, and names the place of
// what it refuses by Source.Errorf("hypervisor[1].ranges[0]", ...).
//
// Syntax comes from BurntSushi/toml; the walk into the struct is our own,
// because that library knows no positions inside arrays of tables.
package strictconf
