# Which C++ sources can be compiled (or looked at by a linter) as one text, so that headers are read once for many:
# those of one class that have no name in common at file scope. Sources that Highway compiles for several targets stay alone.
#   awk -v most=8 -f unity_groups.awk      in: lines "CLASS SOURCE …"; out: the same with the number of a group before them
{
  class = $1
  source = $2
  alone = count = 0
  while ((getline line < source) > 0) {
    if (line ~ /foreach_target\.h/) alone = 1
    if (line !~ /^[A-Za-z]/ || line ~ /^(namespace|using namespace|template|static_assert|[A-Z_0-9]+\()/) continue
    is = line ~ /^using [A-Za-z0-9_:]+;$/ ? line : source  # the same using declaration may stand twice
    gsub(/::/, " ", line)
    # What is declared is the last word before one of these; with commas, several.
    sub(/ *[({;:].*/, "", line)
    parts = split(line, part, ",")
    for (i = 1; i <= parts; i++) {
      sub(/ *[=[].*/, "", part[i])
      sub(/.*[ *&]/, "", part[i])
      if (part[i] ~ /^[A-Za-z_0-9]+$/) { name[++count] = part[i]; text[count] = is }
    }
  }
  close(source)
  for (group = 1; group <= groups; group++) {
    if (alone || size[group] >= most || class_of[group] != class) continue
    for (i = 1; i <= count; i++)
      if ((group, name[i]) in taken && taken[group, name[i]] != text[i]) break
    if (i > count) break
  }
  if (group > groups) {
    groups = group
    class_of[group] = class
    size[group] = alone ? most : 0
  }
  size[group]++
  for (i = 1; i <= count; i++) taken[group, name[i]] = text[i]
  print group, $0
}
