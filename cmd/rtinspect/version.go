package main

import (
	"io"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

// build is what this program was made of.
type build struct {
	Version string `json:"version"`
	// Revision is the commit, when the build knew it, and Modified tells whether files had changed since.
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (v *invocation) versionCommand() *cli.Command {
	return &cli.Command{
		Name:        "version",
		Usage:       "print the version of rtinspect",
		Description: "Prints the version of rtinspect, the commit it was built from when that is known, and the version of Go. It asks no runtime. rtinspect --version does the same.",
		UsageText:   "rtinspect version\nrtinspect version -o json\nrtinspect version -o go-template='{{.version}}'",
		Flags:       []cli.Flag{formatFlag()},
		Action: func(c *cli.Context) error {
			o, err := v.output(c)
			if err != nil {
				return err
			}
			if err := noArguments(c); err != nil {
				return err
			}
			return o.write(&v.answer, versionAnswer(thisBuild()))
		},
	}
}

// thisBuild is that of this program.
func thisBuild() build {
	info, _ := debug.ReadBuildInfo()
	return buildOf(info)
}

// buildOf reads what the Go toolchain left in the program; info is nil when it left nothing.
func buildOf(info *debug.BuildInfo) build {
	b := build{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info == nil {
		return b
	}
	if info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			b.Revision = setting.Value
		case "vcs.modified":
			b.Modified = setting.Value == "true"
		}
	}
	return b
}

func versionAnswer(b build) answer {
	return answer{
		data: b,
		text: func(w io.Writer, _ output) {
			say(w, "rtinspect ", b.Version)
			if b.Revision != "" {
				say(w, " ", b.Revision)
			}
			if b.Modified {
				say(w, " modified")
			}
			say(w, " ", b.Go, " ", b.Platform, "\n")
		},
	}
}
