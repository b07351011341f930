package operate

import (
	"fmt"
	"runtime/debug"

	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/places"
	"github.com/chirograph/chirograph/policies"
)

// VersionCmd says what this binary is, and what it decides with.
type VersionCmd struct{}

type version struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Time     string `json:"time,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	Policies struct {
		Revision string `json:"revision"`
		Digest   string `json:"digest"`
	} `json:"policies"`
	ZoneData string `json:"zone_data"`
}

// Run prints it.
func (VersionCmd) Run(g *terminal.Globals) error {
	v := version{Version: "unknown", ZoneData: places.BuiltIn().Version()}
	goos, arch := "", ""
	if b, ok := debug.ReadBuildInfo(); ok {
		v.Version, v.Go = b.Main.Version, b.GoVersion
		for _, s := range b.Settings {
			switch s.Key {
			case "vcs.revision":
				v.Revision = s.Value
			case "vcs.time":
				v.Time = s.Value
			case "vcs.modified":
				v.Modified = s.Value == "true"
			case "GOOS":
				goos = s.Value
			case "GOARCH":
				arch = s.Value
			}
		}
	}
	v.Platform = goos + "/" + arch
	p, err := policies.Builtin()
	if err != nil {
		return fmt.Errorf("the built-in policies do not load: %w", err)
	}
	v.Policies.Revision, v.Policies.Digest = p.Bundle()
	if g.JSON {
		return g.PrintValue(v)
	}
	t := terminal.Table(g.Stdout)
	fmt.Fprintf(t, "chirograph\t%s\n", v.Version)
	if v.Revision != "" {
		modified := ""
		if v.Modified {
			modified = ", with changes"
		}
		fmt.Fprintf(t, "revision\t%s%s, %s\n", v.Revision, modified, v.Time)
	}
	fmt.Fprintf(t, "built with\t%s for %s\n", v.Go, v.Platform)
	fmt.Fprintf(t, "policies\t%s, digest %s\n", v.Policies.Revision, v.Policies.Digest)
	fmt.Fprintf(t, "zone data\t%s\n", v.ZoneData)
	return t.Flush()
}
