package door

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
	"sync"

	"github.com/labstack/echo/v4"
)

//go:embed page.html.tmpl
var pageTemplate string

// Template returns a new template that has "head": how every page begins.
func Template() *template.Template {
	return template.Must(template.New("pages").Parse(pageTemplate))
}

// Page serves a page of ours: no scripts, nothing from elsewhere.
func Page(c echo.Context, html []byte) error {
	h := c.Response().Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	return c.HTMLBlob(http.StatusOK, html)
}

// problemPages are the pages of all problems, by code.
var problemPages = sync.OnceValue(func() map[string][]byte {
	t, pages := Template(), map[string][]byte{}
	for _, k := range Kinds() {
		var b bytes.Buffer
		if err := t.ExecuteTemplate(&b, "problem", k); err != nil {
			panic("door: page.html.tmpl: " + err.Error()) // it is embedded, so a fault of the build
		}
		pages[k.Code] = b.Bytes()
	}
	return pages
})

// ServeProblems adds the pages of problems to a face: GET /problems/{code}.
func ServeProblems(e *echo.Echo) {
	e.GET(prefix+":code", func(c echo.Context) error {
		html, ok := problemPages()[c.Param("code")]
		if !ok {
			return Refuse("not_found", "", "There is no problem with this code; see /docs.")
		}
		return Page(c, html)
	})
}
