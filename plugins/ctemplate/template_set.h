// plugins/ctemplate/template_set.h - every template of a directory, read, checked and compiled once. Later changes on
// disk do not reach it, so a mail is made from one state of the files.
#pragma once

#include <ctemplate/template.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "template_source.h"

namespace postbus::templates {

// One compiled part. Immutable; expanded by any number of threads.
struct Part {
  std::unique_ptr<ctemplate::Template> compiled;
  size_t source_bytes = 0;  // how much room a mail will want
};

struct MailTemplate {
  Part subject;  // compiled: null where the template has no such part
  Part text;
  Part html;
};

class TemplateSet {
 public:
  // Reads <directory>/<name>/{subject,text,html}.tpl and the partials they include. Throws std::runtime_error with
  // file, line and what to do if any is wrong. [control]
  explicit TemplateSet(const std::string& directory);

  // nullptr: there is none. [any]
  const MailTemplate* Find(std::string_view name) const;
  // Sorted. [any]
  std::vector<std::string> Names() const;

 private:
  std::map<std::string, MailTemplate, std::less<>> templates_;
};

}  // namespace postbus::templates
