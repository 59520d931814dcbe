package main

import (
	"runtime"
	"runtime/debug"
)

// release is set by the linker for released binaries.
var release = ""

// version returns the release, or what the build says of itself.
func version() string {
	if release != "" {
		return release
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

type versionCmd struct{}

// Help is shown by --help.
func (versionCmd) Help() string {
	return `Prints version, Go release, platform and the revision it was built from.

Example:

  weir version -o json`
}

// Run prints the version.
func (versionCmd) Run(s *streams) error {
	v := struct {
		Version  string `json:"version"`
		Go       string `json:"go"`
		Platform string `json:"platform"`
		Revision string `json:"revision,omitempty"`
		Time     string `json:"time,omitempty"`
		Modified bool   `json:"modified,omitempty"`
	}{Version: version(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, set := range info.Settings {
			switch set.Key {
			case "vcs.revision":
				v.Revision = set.Value
			case "vcs.time":
				v.Time = set.Value
			case "vcs.modified":
				v.Modified = set.Value == "true"
			}
		}
	}
	if s.json {
		return s.printJSON(v)
	}
	s.printf("weir %s (%s, %s)\n", v.Version, v.Go, v.Platform)
	if v.Revision != "" {
		dirty := ""
		if v.Modified {
			dirty = ", modified since"
		}
		s.printf("revision %s of %s%s\n", v.Revision, v.Time, dirty)
	}
	return nil
}
