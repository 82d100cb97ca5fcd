# fish completion for rtinspect. Load it with: rtinspect completion fish | source
function __rtinspect_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l candidates (command $words[1] __complete $words[2..-1] "$current" 2>/dev/null)
    if test "$candidates[1]" = :files
        __fish_complete_path "$current"
    else
        printf '%s\n' $candidates
    end
end
complete -c rtinspect -f -a '(__rtinspect_complete)'
