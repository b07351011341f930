package operate

import (
	"errors"
	"fmt"
	"os"

	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/places"
)

// WorldCmd is about world data: area codes, the zones of countries, and a zone database.
type WorldCmd struct {
	Export WorldExportCmd `cmd:"" help:"Write the built-in world data to a file, which world_file in a configuration can name. It is a zip: change world.json and the zones in it, and zip it again."`
}

// WorldExportCmd writes the built-in world data.
type WorldExportCmd struct {
	File string `arg:"" type:"path" help:"The file to write. It must not exist."`
}

// Run writes it.
func (c *WorldExportCmd) Run(g *terminal.Globals) error {
	f, err := os.OpenFile(c.File, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("the file cannot be written: %w", err)
	}
	if err := errors.Join(places.Export(f), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("the file could not be written: %w", err), os.Remove(c.File))
	}
	version := places.BuiltIn().Version()
	if g.JSON {
		return g.PrintValue(struct {
			File     string `json:"file"`
			ZoneData string `json:"zone_data"`
		}{c.File, version})
	}
	_, err = fmt.Fprintf(g.Stdout, "World data %s is in %s.\n", version, c.File)
	return err
}
