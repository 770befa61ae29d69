// plugins/ctemplate/plugin.cc - the renderer `ctemplate`: templates in files, HTML escaped by itself.
#include <array>

#include "postbus/renderer.hpp"
#include "renderer.h"

namespace postbus::templates {
namespace {

constexpr sdk::About kAbout{.id = "ctemplate",
                            .version = "0.1.0",
                            .summary = "Renders subject, text and HTML from templates in a directory.",
                            .caps = 0};

constexpr std::array kOptions = {
    sdk::PathOption("directory", "Where the templates are: <name>/{subject,text,html}.tpl and _partials/.").Required(),
    sdk::BooleanOption("strict", "Refuse a mail whose data lacks a variable; otherwise it is empty.").Default("true"),
};

}  // namespace
}  // namespace postbus::templates

POSTBUS_EXPORT_RENDERER(postbus::templates::CtemplateRenderer, postbus::templates::kAbout,
                        postbus::templates::kOptions);
