// SPDX-License-Identifier: MIT
// The reference for Go templates: text/template, with values such as Ollama hands over. Lines of JSON in and out as
// go_render has them.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
	"time"
)

var now = time.Unix(1783155900, 0)

func jsonText(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

type property struct {
	AnyOf       []property `json:"anyOf,omitempty"`
	Type        kind       `json:"type,omitempty"`
	Items       any        `json:"items,omitempty"`
	Description string     `json:"description,omitempty"`
	Enum        []any      `json:"enum,omitempty"`
	Properties  properties `json:"properties,omitempty"`
	Required    []string   `json:"required,omitempty"`
}

// One type is text, several are a list.
type kind []string

func (k *kind) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*k = kind{one}
		return nil
	}
	var several []string
	err := json.Unmarshal(data, &several)
	*k = several
	return err
}
func (k kind) MarshalJSON() ([]byte, error) {
	if len(k) == 1 {
		return json.Marshal(k[0])
	}
	return json.Marshal([]string(k))
}
func (k kind) String() string {
	if len(k) < 2 {
		return strings.Join(k, "")
	}
	return fmt.Sprint([]string(k))
}

func typeScript(v any) string {
	p, ok := v.(property)
	if !ok {
		return "any"
	}
	var types []string
	for _, one := range p.AnyOf {
		types = append(types, typeScript(one))
	}
	if len(types) > 0 {
		return strings.Join(types, " | ")
	}
	names := map[string]string{"string": "string", "number": "number", "integer": "number", "boolean": "boolean",
		"array": "any[]", "object": "Record<string, any>", "null": "null"}
	for _, one := range p.Type {
		if name, known := names[one]; known {
			types = append(types, name)
		} else {
			types = append(types, "any")
		}
	}
	if len(types) == 0 {
		return "any"
	}
	return strings.Join(types, " | ")
}

type properties map[string]property

func (p properties) String() string { return jsonText(p) }

type parameters struct {
	Type       string     `json:"type"`
	Defs       any        `json:"$defs,omitempty"`
	Items      any        `json:"items,omitempty"`
	Required   []string   `json:"required,omitempty"`
	Properties properties `json:"properties"`
}

func (p parameters) String() string { return jsonText(p) }

type function struct {
	Name        string     `json:"name"`
	Description string     `json:"description"`
	Parameters  parameters `json:"parameters"`
}

func (f function) String() string { return jsonText(f) }

type tool struct {
	Type     string   `json:"type"`
	Items    any      `json:"items,omitempty"`
	Function function `json:"function"`
}

func (t tool) String() string { return jsonText(t) }

type tools []tool

func (t tools) String() string { return jsonText(t) }

type arguments map[string]any

func (a arguments) String() string { return jsonText(a) }

type callFunction struct {
	Index     int
	Name      string
	Arguments arguments
}
type call struct {
	ID       string
	Function callFunction
}
type message struct {
	Role, Content, Thinking string
	Images                  [][]byte
	ToolCalls               []call
	ToolName, ToolCallID    string
}

type request struct {
	Template string
	Data     any
	Think    *bool
	Messages []struct {
		Role, Content, Thinking string
		ToolName                string `json:"tool_name"`
		ToolCalls               []struct {
			Name      string
			Arguments map[string]any
		} `json:"tool_calls"`
	}
	Tools []function
}

var functions = template.FuncMap{
	"json":             jsonText,
	"currentDate":      func(...string) string { return now.Format("2006-01-02") },
	"yesterdayDate":    func(...string) string { return now.AddDate(0, 0, -1).Format("2006-01-02") },
	"toTypeScriptType": typeScript,
}

func names(node parse.Node, into *[]string) {
	switch n := node.(type) {
	case *parse.ListNode:
		if n != nil {
			for _, one := range n.Nodes {
				names(one, into)
			}
		}
	case *parse.ActionNode:
		names(n.Pipe, into)
	case *parse.TemplateNode:
		names(n.Pipe, into)
	case *parse.IfNode:
		branch(&n.BranchNode, into)
	case *parse.RangeNode:
		branch(&n.BranchNode, into)
	case *parse.WithNode:
		branch(&n.BranchNode, into)
	case *parse.PipeNode:
		if n != nil {
			for _, command := range n.Cmds {
				for _, one := range command.Args {
					names(one, into)
				}
			}
		}
	case *parse.FieldNode:
		*into = append(*into, n.Ident...)
	case *parse.VariableNode:
		*into = append(*into, n.Ident...)
	}
}
func branch(n *parse.BranchNode, into *[]string) {
	names(n.Pipe, into)
	names(n.List, into)
	names(n.ElseList, into)
}

// Keeps the nodes in front of the place where .Response is written, and that one.
func upToResponse(list *parse.ListNode, cut *bool) {
	if list == nil {
		return
	}
	var kept []parse.Node
	for _, node := range list.Nodes {
		if *cut {
			break
		}
		switch n := node.(type) {
		case *parse.IfNode:
			upToResponse(n.List, cut)
			upToResponse(n.ElseList, cut)
		case *parse.RangeNode:
			upToResponse(n.List, cut)
			upToResponse(n.ElseList, cut)
		case *parse.WithNode:
			upToResponse(n.List, cut)
			upToResponse(n.ElseList, cut)
		case *parse.ActionNode:
			var found []string
			names(n.Pipe, &found)
			*cut = *cut || slices.Contains(found, "Response")
		}
		kept = append(kept, node)
	}
	list.Nodes = kept
}

func chat(t *template.Template, r request) (string, error) {
	var found []string
	for _, one := range t.Templates() {
		names(one.Root, &found)
	}
	for i := range found {
		found[i] = strings.ToLower(found[i])
	}
	readsMessages := slices.Contains(found, "messages")
	if !readsMessages && !slices.Contains(found, "response") {
		more, err := template.New("").Parse("{{ .Response }}")
		if err != nil {
			return "", err
		}
		t.Root.Nodes = append(t.Root.Nodes, more.Root.Nodes...)
	}
	var system string
	var messages []*message
	for _, m := range r.Messages {
		if m.Role == "system" {
			if system != "" {
				system += "\n\n"
			}
			system += m.Content
		}
		if n := len(messages); n > 0 && messages[n-1].Role == m.Role && m.Role != "tool" {
			messages[n-1].Content += "\n\n" + m.Content
			continue
		}
		made := &message{Role: m.Role, Content: m.Content, Thinking: m.Thinking, ToolName: m.ToolName}
		for i, c := range m.ToolCalls {
			made.ToolCalls = append(made.ToolCalls, call{Function: callFunction{i, c.Name, c.Arguments}})
		}
		messages = append(messages, made)
	}
	data := func() map[string]any {
		return map[string]any{"Response": "", "Think": r.Think != nil && *r.Think, "ThinkLevel": "", "IsThinkSet": r.Think != nil}
	}
	var out strings.Builder
	if readsMessages {
		var offered tools
		for _, f := range r.Tools {
			offered = append(offered, tool{Type: "function", Function: f})
		}
		values := data()
		values["System"], values["Messages"], values["Tools"] = system, messages, offered
		err := t.Execute(&out, values)
		return out.String(), err
	}
	var said, prompt, response string
	run := func() error {
		values := data()
		values["System"], values["Prompt"], values["Response"] = said, prompt, response
		said, prompt, response = "", "", ""
		return t.Execute(&out, values)
	}
	for _, m := range messages {
		var err error
		switch m.Role {
		case "system":
			if prompt != "" || response != "" {
				err = run()
			}
			said = m.Content
		case "user":
			if response != "" {
				err = run()
			}
			prompt = m.Content
		case "assistant":
			response = m.Content
		}
		if err != nil {
			return "", err
		}
	}
	cut := false
	upToResponse(t.Root, &cut)
	err := run()
	return out.String(), err
}

func answer(line []byte) map[string]any {
	var r request
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(line, &r); err != nil {
		return map[string]any{"error": err.Error()}
	}
	_ = json.Unmarshal(line, &raw)
	t, err := template.New("").Option("missingkey=zero").Funcs(functions).Parse(r.Template)
	if err != nil {
		return map[string]any{"error": err.Error()}
	}
	var text string
	if _, language := raw["data"]; language {
		var out strings.Builder
		err = t.Execute(&out, r.Data)
		text = out.String()
	} else {
		text, err = chat(t, r)
	}
	if err != nil {
		return map[string]any{"error": err.Error()}
	}
	return map[string]any{"text": text}
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	for lines.Scan() {
		_ = out.Encode(answer(lines.Bytes()))
	}
}
