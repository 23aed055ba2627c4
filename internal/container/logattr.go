package container

import (
	"regexp"
	"strings"
)

// logAttrs gives the extra attributes of each log line that the options labels,
// labels-regex, env, env-regex ask for.
func logAttrs(r *record) map[string]string {
	opts := r.Host.LogConfig.Config
	attrs := map[string]string{}
	pick(attrs, opts["labels"], opts["labels-regex"], r.Config.Labels)
	env := make(map[string]string, len(r.Config.Env))
	for _, e := range r.Config.Env {
		k, v, _ := strings.Cut(e, "=")
		env[k] = v
	}
	pick(attrs, opts["env"], opts["env-regex"], env)
	if len(attrs) == 0 {
		return nil
	}
	return attrs
}

func pick(attrs map[string]string, names, pattern string, from map[string]string) {
	for name := range strings.SplitSeq(names, ",") {
		if v, ok := from[name]; ok && name != "" {
			attrs[name] = v
		}
	}
	if pattern == "" {
		return
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return
	}
	for k, v := range from {
		if re.MatchString(k) {
			attrs[k] = v
		}
	}
}
