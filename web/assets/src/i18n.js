// The editor's own words: bpmn-js-i18n's Chinese table, and a table of ours for what it lacks.
import chinese from 'bpmn-js-i18n/translations/zn';

const OURS = {
  '(none)': '（无）', 'required': '必须', 'Form and people': '表单与人员', 'Form': '表单', 'Result variable': '结果变量', 'Group': '组',
  'Assignee (expression)': '办理人（表达式）', 'Never these people (expression)': '回避人员（表达式）', 'Signature': '签字',
  'Training record': '培训资格', 'Due after (ISO 8601, e.g. P2D)': '办理时限（ISO 8601，如 P2D）', 'Instructions': '办理说明',
  'Instructions (Markdown)': '办理说明（Markdown）', 'Operator': '操作', 'Decision table': '决策表', 'Decision': '决策', 'Script': '脚本',
  'Condition': '条件', 'Condition (expression)': '条件（表达式）', 'Scripts before and after': '前后脚本', 'Before': '之前', 'After': '之后',
  'Documentation': '说明', 'Element documentation': '元素说明', 'General': '常规', 'Name': '名称', 'ID': '编号', 'Executable': '可执行',
  'Multi-instance': '多实例', 'Loop cardinality': '循环次数', 'Completion condition': '完成条件', 'Timer': '定时器', 'Type': '类型', 'Value': '值',
  'Error': '错误', 'Message': '消息', 'Signal': '信号', 'Escalation': '升级', 'Global error reference': '全局错误', 'Code': '代码',
  'Global message reference': '全局消息', 'Global signal reference': '全局信号', 'Global escalation reference': '全局升级',
  'Process name': '流程名称', 'Process ID': '流程编号', 'Process documentation': '流程说明', 'Participant name': '参与者名称', 'Participant ID': '参与者编号',
  'Toggle section': '展开或收起', 'Section contains data': '该部分有内容', 'Select an element to edit its properties.': '选择一个元素以编辑其属性。',
  'Select a single element to edit its properties.': '请只选择一个元素。', 'Create new ...': '新建…', '<none>': '（无）', 'Format': '格式',
  'Append element': '追加元素', 'Create element': '新建元素', 'Change element': '更改元素', 'Toggle minimap': '缩略图', 'Open minimap': '打开缩略图',
  'Close minimap': '关闭缩略图', 'Date': '日期', 'Duration': '时长', 'Cycle': '周期', 'Format version': '格式版本'
};

export default function translation(language) {
  const table = language.startsWith('zh') ? { ...chinese, ...OURS } : {};
  const translate = (template, values = {}) =>
    (table[template] || template).replace(/{([^}]+)}/g, (whole, name) => values[name] ?? whole);
  return { translate: ['value', translate] };
}
