# bash completion for rtinspect. Load it with: source <(rtinspect completion bash)
_rtinspect() {
    mapfile -t COMPREPLY < <("$1" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    case "${COMPREPLY[0]-}" in
    :files)
        COMPREPLY=()
        compopt -o default
        ;;
    *=) compopt -o nospace ;;
    esac
}
complete -F _rtinspect rtinspect
